/** The transports that the mux must run over alike: memory, a plain WebSocket, and a WebSocket over mutual TLS. */
import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { createCa, openCa } from '../../certs/authority.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { systemClock } from '../../shared/clock.ts';
import type { Transport } from '../../shared/mux/transport.ts';
import { WS_OPTIONS, wsTransport } from '../../shared/mux/ws-transport.ts';
import { memoryPair } from './memory-pair.ts';

export interface ConnectedPair {
  readonly server: Transport;
  readonly agent: Transport;
  /** Breaks the connection, as a network does. */
  cut(): void;
}

/** A place where connections can be made. */
export interface Network {
  connect(): Promise<ConnectedPair>;
  close(): Promise<void>;
}

export function memoryNetwork(): Promise<Network> {
  return Promise.resolve({ connect: () => Promise.resolve(memoryPair()), close: () => Promise.resolve() });
}

export interface WsPair {
  readonly server: WebSocket;
  readonly agent: WebSocket;
}

/** Two ends of one WebSocket through `server`, which listens already. */
async function connectWs(sockets: WebSocketServer, url: string, options: object): Promise<WsPair> {
  const arrival = once(sockets, 'connection') as Promise<[WebSocket]>;
  const agent = new WebSocket(url, { ...WS_OPTIONS, ...options });
  await once(agent, 'open');
  const [server] = await arrival;
  return { server, agent };
}

async function wsNetwork(server: http.Server | https.Server, scheme: string, options: object): Promise<WsNetwork> {
  const sockets = new WebSocketServer({ server, ...WS_OPTIONS });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    connectWs: () => connectWs(sockets, url, options),
    async connect() {
      const pair = await connectWs(sockets, url, options);
      return { server: wsTransport(pair.server), agent: wsTransport(pair.agent), cut: () => pair.server.terminate() };
    },
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      sockets.close();
      server.close();
      await once(server, 'close');
    },
  };
}

export interface WsNetwork extends Network {
  /** The bare WebSockets, for tests that break rules below the mux. */
  connectWs(): Promise<WsPair>;
}

export function plainWsNetwork(): Promise<WsNetwork> {
  return wsNetwork(http.createServer(), 'ws', {});
}

export async function mtlsWsNetwork(): Promise<WsNetwork> {
  const installationId = randomUUID();
  const ca = openCa(await createCa({ installationId, clock: systemClock, bits: 2048 }));
  const server = await ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const agent = await ca.issueAgent({ spki, hostId: randomUUID(), installationId, clock: systemClock });
  const listener = https.createServer({
    key: server.keyPem,
    cert: server.certPem,
    ca: ca.certPem,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  });
  return wsNetwork(listener, 'wss', {
    key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    cert: agent.certPem,
    ca: ca.certPem,
    servername: INTERNAL_SERVER_NAME,
    minVersion: 'TLSv1.3',
  });
}
