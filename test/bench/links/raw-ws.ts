/** The baseline of bulk: 64 KiB WebSocket messages over the same mutual TLS, with no protocol on top; small ones are calls. */
import { once } from 'node:events';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { MAX_FRAME_BYTES } from '../../../shared/limits.ts';
import { startPeer } from '../peer.ts';
import type { RawWsPeer } from '../peers/raw-ws.ts';
import { type BenchTls, clientOptions, serverOptions } from '../tls.ts';
import { CALL_BYTES, CHUNK_BYTES, Counter, direct, type EchoLink, type Route } from './link.ts';

/** Messages handed to ws and not yet taken by the kernel. */
const IN_FLIGHT = 16;

const wsOptions = { perMessageDeflate: false, maxPayload: MAX_FRAME_BYTES };

/** Listens on a free port for one kind of WebSocket. */
export async function listenWs(tls: BenchTls): Promise<{ port: number; sockets: WebSocketServer; close(): void }> {
  const server = https.createServer(serverOptions(tls));
  const sockets = new WebSocketServer({ server, ...wsOptions });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    close() {
      for (const socket of sockets.clients) socket.terminate();
      server.close();
    },
  };
}

export async function connectWs(port: number, tls: BenchTls): Promise<WebSocket> {
  const ws = new WebSocket(`wss://127.0.0.1:${port}/`, { ...clientOptions(tls), ...wsOptions });
  await once(ws, 'open');
  return ws;
}

/** Sends without end, and never more than is in flight. */
export function pumpWs(ws: WebSocket): void {
  const chunk = Buffer.alloc(CHUNK_BYTES, 0x5a);
  let inFlight = 0;
  const sent = () => {
    inFlight--;
    fill();
  };
  const fill = () => {
    for (; inFlight < IN_FLIGHT && ws.readyState === ws.OPEN; inFlight++) ws.send(chunk, sent);
  };
  fill();
}

/** Counts bulk; `onCall` gets what is as small as a call. */
export function countWs(ws: WebSocket, counter: Counter, onCall: (data: Buffer) => void): void {
  ws.on('message', (data: Buffer) => {
    if (data.length === CALL_BYTES) onCall(data);
    else counter.bytes += data.length;
  });
}

/** A WebSocket between this process and a new one. `start` ignores the number of streams: there is but one. */
export async function openRawWs(tls: BenchTls, route: Route = direct): Promise<EchoLink> {
  const peer = startPeer<RawWsPeer>('raw-ws.ts');
  const listener = await listenWs(tls);
  const arrival = once(listener.sockets, 'connection') as Promise<[WebSocket]>;
  await peer.call('connect', { port: await route(listener.port), tls });
  const [ws] = await arrival;
  ws.on('error', () => undefined); // the end of the other process
  const counter = new Counter();
  const question = Buffer.alloc(CALL_BYTES, 0x51);
  /** Answers come in the order of the questions. */
  const asked: (() => void)[] = [];
  countWs(ws, counter, () => asked.shift()?.());
  const call = () =>
    new Promise<void>((resolve) => {
      asked.push(resolve);
      ws.send(question);
    });
  return {
    async start(direction) {
      if (direction === 'up') pumpWs(ws);
      else await peer.call('send');
    },
    sample: async (direction) => (direction === 'down' ? counter.sample() : await peer.call('sample')),
    call,
    echo: async () => call,
    async close() {
      listener.close();
      await peer.close();
    },
  };
}
