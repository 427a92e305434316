/** Handler of host.throughput: sends noise and counts what comes, for a short while. Touches neither Docker nor the disk. */
import type { Readable } from 'node:stream';
import type { Clock } from '../../shared/clock.ts';
import type { hostThroughput } from '../../shared/messages/host.ts';
import { Arrivals, writeNoise } from '../../shared/throughput.ts';
import type { Handler } from './handler.ts';

/** How long what the opener sent in time may take to arrive. */
const ARRIVAL_GRACE_MS = 5_000;

export const handleThroughput: Handler<typeof hostThroughput> = async (stream, { docker }) => {
  const { clock } = docker;
  const { sendBytes, ms } = stream.params;
  const { bytes, aborted } = stream;
  stream.sendReply({});
  const arrivals = new Arrivals(clock);
  const received = receive(bytes, arrivals, { ms: ms + ARRIVAL_GRACE_MS, clock, signal: aborted });
  const sent = sendBytes === 0 ? 0 : writeNoise(bytes, { bytes: sendBytes, ms }, clock, aborted);
  await Promise.all([received, sent]);
  const { counted, total } = arrivals;
  stream.finish({ receivedBytes: total, countedBytes: counted.bytes, countedMs: counted.ms });
};

/** Counts what comes until it ends or the time is over. @throws the signal's reason */
async function receive(
  source: Readable,
  arrivals: Arrivals,
  { ms, clock, signal }: { ms: number; clock: Clock; signal: AbortSignal },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = clock.setTimeout(resolve, ms);
  const abort = () => reject(signal.reason);
  const count = (chunk: Buffer) => arrivals.add(chunk.byteLength);
  signal.addEventListener('abort', abort);
  source.on('data', count).once('end', resolve);
  try {
    if (signal.aborted) abort();
    await promise;
  } finally {
    timer.cancel();
    signal.removeEventListener('abort', abort);
    source.off('data', count).off('end', resolve);
  }
}
