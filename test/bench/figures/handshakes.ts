/** Sessions per second from TCP to welcome, against bare mutual-TLS WebSockets; a mesh comes back at this rate. */
import type { WebSocket } from 'ws';
import { serveSession } from '../links/mux.ts';
import { listenWs } from '../links/raw-ws.ts';
import { startPeer } from '../peer.ts';
import type { HandshakePeer } from '../peers/handshakes.ts';
import type { Row } from '../table.ts';
import { type BenchTls, makeTls } from '../tls.ts';

const CONNECT_MS = 2_000;
/** 10,000 agents back within 30 s. */
const TARGET_PER_SECOND = 334;

async function perSecond(tls: BenchTls, greet: boolean): Promise<number> {
  const listener = await listenWs(tls);
  const peer = startPeer<HandshakePeer>('handshakes.ts');
  listener.sockets.on('connection', (ws: WebSocket) => {
    ws.on('error', () => undefined); // the other process cuts the connection once it has been welcomed
    if (greet) serveSession(ws).catch(() => ws.terminate());
  });
  try {
    return await peer.call('connect', { port: listener.port, tls, ms: CONNECT_MS, greet });
  } finally {
    await peer.close();
    listener.close();
  }
}

export async function handshakes(): Promise<Row[]> {
  const tls = await makeTls();
  const baseline = await perSecond(tls, false);
  const value = await perSecond(tls, true);
  return [
    {
      figure: 'sessions from TCP to welcome, P-256 leaves',
      value,
      unit: '/s',
      baseline,
      against: 'bare mTLS ws',
      target: `≥ ${TARGET_PER_SECOND}/s`,
      held: value >= TARGET_PER_SECOND,
    },
  ];
}
