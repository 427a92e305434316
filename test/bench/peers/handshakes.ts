/** The other process of the handshake figure: connects, is welcomed, leaves, again and again. */
import { joinSession } from '../links/mux.ts';
import { connectWs } from '../links/raw-ws.ts';
import { serve } from '../peer.ts';
import type { BenchTls } from '../tls.ts';

const IN_FLIGHT = 16;

const methods = {
  async connect(o: { port: number; tls: BenchTls; ms: number; greet: boolean }): Promise<number> {
    let done = 0;
    const from = performance.now();
    const worker = async () => {
      while (performance.now() - from < o.ms) {
        const ws = await connectWs(o.port, o.tls);
        ws.on('error', () => undefined); // the end that terminate brings about
        if (o.greet) await joinSession(ws, () => undefined);
        ws.terminate();
        done++;
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
    return (done / (performance.now() - from)) * 1000;
  },
};

export type HandshakePeer = typeof methods;
serve(methods);
