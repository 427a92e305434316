/** Links of every sort to a host with one and the same Docker, as the server has them. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { WebSocketServer } from 'ws';
import { HANDLERS } from '../../agent/handlers/index.ts';
import { Dispatcher } from '../../agent/link/dispatch.ts';
import { HawserEdge, type HawserEdgeOptions } from '../../server/hawser/edge.ts';
import { StandardHost } from '../../server/hawser/standard/standard-host.ts';
import { neverSent } from '../../server/hawser/unary.ts';
import type { HostLink } from '../../server/hosts/host-link.ts';
import { HostRegistry } from '../../server/hosts/registry.ts';
import { NativeLink } from '../../server/mesh/native-link.ts';
import { HAWSER_SOCKETS } from '../../server/routes/web-sockets.ts';
import { Turns } from '../../server/turns.ts';
import { systemClock } from '../../shared/clock.ts';
import { CATALOGUE, STREAM_KINDS } from '../../shared/messages/index.ts';
import { volumeBrowse } from '../../shared/messages/volume-content.ts';
import { Session } from '../../shared/mux/session.ts';
import { Once } from '../../shared/once.ts';
import { engineAt, PERMISSIVE, SILENT } from '../unit/agent/docker/fake-docker.ts';
import { HawserAgent } from './hawser-agent.ts';
import { standardAgent } from './hawser-standard-agent.ts';
import { memoryPair } from './memory-pair.ts';
import { greet, HELLO } from './mux.ts';
import { type Cleanup, defer } from './tmp.ts';
import { waitFor } from './wait.ts';

export const HOST_ID = '11111111-1111-4111-8111-111111111111';

export interface LinkedHost {
  readonly link: HostLink;
  /** The host is gone, without a word. */
  cut(): void;
}

/** Opens a link to a host whose Docker is at `socket`. */
export type OpenLink = (cleanup: Cleanup, socket: string) => Promise<LinkedHost>;

/** An agent of Fairlead's own, in memory, that knows all kinds but one. */
export const nativeHost: OpenLink = async (cleanup, socket) => {
  const docker = await engineAt(cleanup, socket);
  const log = pino({ level: 'silent' });
  const handlers = new Map([...HANDLERS].filter(([code]) => code !== volumeBrowse.code));
  const context = { docker, info: { agentVersion: '9.9.9' }, log: SILENT };
  const dispatcher = new Dispatcher({ policy: PERMISSIVE, handlers, context, log });
  const pair = memoryPair();
  const shared = { catalogue: CATALOGUE, clock: systemClock, onControl: () => undefined };
  const refuse = () => {
    throw new Error('the agent opened a stream');
  };
  const server = new Session({ ...shared, side: 'server', transport: pair.server, onStream: refuse });
  const agent = new Session({
    ...{ ...shared, side: 'agent', transport: pair.agent },
    onStream: (stream) => dispatcher.accept(stream),
  });
  await greet({ server, agent });
  const capabilities = dispatcher.capabilities(STREAM_KINDS);
  const hello = { ...HELLO, capabilities, docker: docker.state };
  const link = new NativeLink({ hostId: HOST_ID, session: server, hello, connectedAt: Date.now() });
  defer(cleanup, async () => link.close('SHUTDOWN', 'the test is over'));
  return { link, cut: () => pair.cut() };
};

const ROW = {
  ...{ id: 'token', name: 'nas', prefix: 'x', tokenHash: '', hostId: HOST_ID, createdBy: 'ann', createdAt: 0 },
  ...{ expiresAt: undefined, lastUsedAt: undefined, lastUsedAddress: undefined, revokedAt: undefined },
  replacedBy: undefined,
};

/** An agent of Hawser that connects by itself, over a WebSocket. */
export const edgeHost: OpenLink = async (cleanup, socket) => {
  const registry = new HostRegistry();
  const edge = new HawserEdge({
    ...{ clock: systemClock, log: pino({ level: 'silent' }), registry },
    tokens: { onEnd: () => () => undefined } as unknown as HawserEdgeOptions['tokens'],
    check: { check: async () => ROW, current: async () => ROW } as unknown as HawserEdgeOptions['check'],
    hostOf: { find: async () => ({ id: HOST_ID, name: 'nas' }) } as unknown as HawserEdgeOptions['hostOf'],
  });
  const http = createServer();
  const sockets = new WebSocketServer({ ...HAWSER_SOCKETS, server: http, perMessageDeflate: false });
  sockets.on('connection', (ws, { socket: raw }) => {
    void edge.accept({ ws, socket: raw, address: '192.0.2.7', onWelcome: () => undefined });
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const url = `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const agent = new HawserAgent({ url, token: 'x', dockerSocket: socket });
  defer(cleanup, async () => {
    agent.kill();
    edge.close();
    for (const ws of sockets.clients) ws.terminate();
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
  });
  await agent.welcome;
  const link = await waitFor('the link', () => registry.link(HOST_ID));
  await waitFor('what Docker is', () => link.describe().docker.apiVersion !== undefined);
  return { link, cut: () => agent.kill() };
};

/** An agent of Hawser that listens, and is dialled. */
export const standardHost: OpenLink = async (cleanup, socket) => {
  const registry = new HostRegistry();
  const agent = await standardAgent(cleanup, { token: 'x', docker: socket });
  const host = new StandardHost({
    ...{ hostId: HOST_ID, clock: systemClock, random: () => 0, log: pino({ level: 'silent' }), registry },
    address: { url: new URL(agent.url), token: 'x' },
    turns: new Turns(1),
    once: new Once({ clock: systemClock, undone: neverSent }),
    isWanted: async () => true,
  });
  defer(cleanup, () => host.close('SHUTDOWN', 'the test is over'));
  const link = await waitFor('the link', () => registry.link(HOST_ID));
  return { link, cut: () => void agent.stop() };
};
