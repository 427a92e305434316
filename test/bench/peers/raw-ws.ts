/** The other process of the raw WebSocket link. */
import type { WebSocket } from 'ws';
import { Counter } from '../links/link.ts';
import { connectWs, countWs, pumpWs } from '../links/raw-ws.ts';
import type { Sample } from '../measure.ts';
import { serve } from '../peer.ts';
import type { BenchTls } from '../tls.ts';

const counter = new Counter();
let ws: WebSocket | undefined;

const methods = {
  async connect({ port, tls }: { port: number; tls: BenchTls }): Promise<void> {
    const socket = await connectWs(port, tls);
    countWs(socket, counter, (question) => socket.send(question));
    ws = socket;
  },
  send(): void {
    if (ws !== undefined) pumpWs(ws);
  },
  sample: (): Sample => counter.sample(),
};

export type RawWsPeer = typeof methods;
serve(methods);
