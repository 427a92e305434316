/** A process that holds mutual-TLS WebSockets, answers every message, and does nothing else. */
import { listenWs } from '../links/raw-ws.ts';
import { type Load, loadNow } from '../load.ts';
import { serve } from '../peer.ts';
import type { BenchTls } from '../tls.ts';

/** As long as the answer to a heartbeat. */
const ANSWER = Buffer.alloc(36, 0x41);

const methods = {
  async listen(tls: BenchTls): Promise<number> {
    const { port, sockets } = await listenWs(tls);
    sockets.on('connection', (ws) => ws.on('message', () => ws.send(ANSWER)));
    return port;
  },

  load: (): Load => loadNow(),
};

export type BareServerPeer = typeof methods;
serve(methods);
