/** A container's log from an agent in another process over an emulated link, compressed or not. */
import { once } from 'node:events';
import type { WebSocket } from 'ws';
import { startLink } from '../../support/link-emulator-process.ts';
import type { SampleName } from '../log-samples.ts';
import { startPeer } from '../peer.ts';
import type { LogsPeer } from '../peers/logs.ts';
import { bytesPerSecond, type LinkShape } from '../systems.ts';
import type { BenchTls } from '../tls.ts';
import { Counter, type Echo, echoOver } from './link.ts';
import { echoKind, logKind, serveSession } from './mux.ts';
import { listenWs } from './raw-ws.ts';

export interface LogsLink {
  /** Bytes of the log that have come. */
  readonly counter: Counter;
  start(sample: SampleName): Promise<void>;
  echo(): Promise<Echo>;
  /** What the agent's process has used of a core so far, in ms. */
  agentCpuMs(): Promise<number>;
  close(): Promise<void>;
}

export async function openLogs(
  tls: BenchTls,
  { mbit, roundTripMs }: LinkShape,
  compression: readonly string[],
): Promise<LogsLink> {
  const peer = startPeer<LogsPeer>('logs.ts');
  const listener = await listenWs(tls);
  const link = await startLink({ port: listener.port, rate: bytesPerSecond(mbit), delayMs: roundTripMs / 2 });
  const arrival = once(listener.sockets, 'connection') as Promise<[WebSocket]>;
  const connected = peer.call('connect', { port: link.port, tls, compression });
  const [session] = await Promise.all([arrival.then(([ws]) => serveSession(ws)), connected]);
  const counter = new Counter();
  return {
    counter,
    async start(sample) {
      const stream = session.open(logKind, { sample });
      await stream.reply;
      stream.bytes.on('error', () => undefined); // the end of the other process
      stream.bytes.on('data', (data: Buffer) => {
        counter.bytes += data.length;
      });
    },
    async echo() {
      const stream = session.open(echoKind, {});
      await stream.reply;
      stream.bytes.on('error', () => undefined); // the end of the other process
      return echoOver(stream.bytes);
    },
    agentCpuMs: () => peer.call('cpuMs'),
    async close() {
      listener.close();
      await peer.close();
      await link.close();
    },
  };
}
