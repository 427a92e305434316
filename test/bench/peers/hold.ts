/** A process that opens WebSockets, keeps them, and says something on each of them at an even pace. */
import type { WebSocket } from 'ws';
import { HEARTBEAT_MS } from '../../../shared/limits.ts';
import { connectWs } from '../links/raw-ws.ts';
import { serve } from '../peer.ts';
import type { BenchTls } from '../tls.ts';

const AT_ONCE = 8;
/** As long as a heartbeat. */
const BEAT = Buffer.alloc(110, 0x42);

function beat(ws: WebSocket): void {
  ws.on('error', () => undefined); // the end of the other process
  ws.send(BEAT);
  setInterval(() => ws.send(BEAT), HEARTBEAT_MS);
}

const methods = {
  async hold({ port, tls, count }: { port: number; tls: BenchTls; count: number }): Promise<void> {
    let left = count;
    const worker = async () => {
      while (left-- > 0) beat(await connectWs(port, tls));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  },
};

export type HoldPeer = typeof methods;
serve(methods);
