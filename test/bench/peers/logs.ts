/** The other process of the log link: the agent's end, whose containers log without end. */
import type { MuxStream } from '../../../shared/mux/stream.ts';
import { CHUNK_BYTES } from '../links/link.ts';
import { echoKind, isKind, joinSession, logKind } from '../links/mux.ts';
import { connectWs } from '../links/raw-ws.ts';
import { logSample } from '../log-samples.ts';
import { serve } from '../peer.ts';
import type { BenchTls } from '../tls.ts';

const US_PER_MS = 1000;

function accept(stream: MuxStream): void {
  if (isKind(stream, echoKind)) {
    stream.sendReply({});
    stream.bytes.on('error', () => undefined); // the end of the other process
    stream.bytes.pipe(stream.bytes);
  } else if (isKind(stream, logKind)) {
    stream.sendReply({});
    stream.bytes.on('error', () => undefined); // the end of the other process
    sendAgainAndAgain(stream, logSample(stream.params.sample).bytes);
  }
}

function sendAgainAndAgain({ bytes }: MuxStream, sample: Buffer): void {
  let at = 0;
  const fill = () => {
    while (!bytes.destroyed) {
      const chunk = sample.subarray(at, at + CHUNK_BYTES);
      at = at + CHUNK_BYTES < sample.byteLength ? at + CHUNK_BYTES : 0;
      if (!bytes.write(chunk)) return;
    }
  };
  bytes.on('drain', fill);
  fill();
}

export interface ConnectLogs {
  readonly port: number;
  readonly tls: BenchTls;
  /** What the agent's hello offers. */
  readonly compression: readonly string[];
}

const methods = {
  async connect({ port, tls, compression }: ConnectLogs): Promise<void> {
    await joinSession(await connectWs(port, tls), accept, compression);
  },
  /** What this process has used of a core so far, in ms. */
  cpuMs(): number {
    const { user, system } = process.cpuUsage();
    return (user + system) / US_PER_MS;
  },
};

export type LogsPeer = typeof methods;
serve(methods);
