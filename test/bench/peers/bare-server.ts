/** A process that holds mutual-TLS WebSockets and does nothing else. */
import { listenWs } from '../links/raw-ws.ts';
import { serve } from '../peer.ts';
import type { BenchTls } from '../tls.ts';

const methods = {
  async listen(tls: BenchTls): Promise<number> {
    const { port, sockets } = await listenWs(tls);
    sockets.on('connection', (ws) => ws.on('message', () => undefined));
    return port;
  },
};

export type BareServerPeer = typeof methods;
serve(methods);
