/** The other process of the mux link: the agent's end. */
import type { MuxStream } from '../../../shared/mux/stream.ts';
import { CALL_BYTES, Counter, pump } from '../links/link.ts';
import { bulkKind, callKind, echoKind, isKind, joinSession } from '../links/mux.ts';
import { connectWs } from '../links/raw-ws.ts';
import { type Sample, settledMemory } from '../measure.ts';
import { serve } from '../peer.ts';
import type { BenchTls } from '../tls.ts';

const counter = new Counter();
const text = 'a'.repeat(CALL_BYTES);

function accept(stream: MuxStream): void {
  if (isKind(stream, callKind)) {
    stream.sendReply({ text });
    stream.finish();
  } else if (isKind(stream, echoKind)) {
    stream.sendReply({});
    stream.bytes.on('error', () => undefined); // the end of the other process
    stream.bytes.pipe(stream.bytes);
  } else if (isKind(stream, bulkKind)) {
    stream.sendReply({});
    stream.bytes.on('error', () => undefined); // the end of the other process
    stream.bytes.on('data', (data: Buffer) => {
      counter.bytes += data.length;
    });
    if (stream.params.down) pump(stream.bytes);
  }
}

const methods = {
  async connect({ port, tls }: { port: number; tls: BenchTls }): Promise<void> {
    await joinSession(await connectWs(port, tls), accept);
  },
  memory: (): number => settledMemory().usedBytes,
  sample: (): Sample => counter.sample(),
};

export type MuxPeer = typeof methods;
serve(methods);
