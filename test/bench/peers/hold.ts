/** A process that opens WebSockets and keeps them. */
import type { WebSocket } from 'ws';
import { connectWs } from '../links/raw-ws.ts';
import { serve } from '../peer.ts';
import type { BenchTls } from '../tls.ts';

const held: WebSocket[] = [];

const methods = {
  async hold({ port, tls, count }: { port: number; tls: BenchTls; count: number }): Promise<void> {
    for (let i = 0; i < count; i++) held.push(await connectWs(port, tls));
  },
};

export type HoldPeer = typeof methods;
serve(methods);
