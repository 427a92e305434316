/** The product's own session over a WebSocket and mutual TLS, with kinds of stream that only benchmarks know. */
import { once } from 'node:events';
import Type from 'typebox';
import type { WebSocket } from 'ws';
import { systemClock } from '../../../shared/clock.ts';
import { HEARTBEAT_MS, INITIAL_WINDOW_BYTES, MAX_FRAME_BYTES, SILENCE_MS } from '../../../shared/limits.ts';
import { CONTROL_KINDS, type Hello, type Welcome, welcome } from '../../../shared/messages/control.ts';
import { type Catalogue, catalogue, type StreamKind } from '../../../shared/messages/kind.ts';
import { chosenCompression, greetServer, receiveHello } from '../../../shared/mux/handshake.ts';
import { Session } from '../../../shared/mux/session.ts';
import type { MuxStream } from '../../../shared/mux/stream.ts';
import { wsTransport } from '../../../shared/mux/ws-transport.ts';
import { startPeer } from '../peer.ts';
import type { MuxPeer } from '../peers/mux.ts';
import type { BenchTls } from '../tls.ts';
import { CALL_BYTES, Counter, type Direction, direct, type EchoLink, echoOver, pump, type Route } from './link.ts';
import { listenWs } from './raw-ws.ts';

const common = { from: 'server', role: 'viewer', policy: 'read' } as const;

/** Bytes without end, in the direction that the parameters name. */
export const bulkKind = {
  ...common,
  code: 0x7001,
  name: 'bench.bulk',
  priority: 'bulk',
  params: Type.Object({ down: Type.Boolean() }),
  reply: Type.Object({}),
  bytes: 'both',
} as const satisfies StreamKind;

/** A small question and a small answer. */
export const callKind = {
  ...common,
  code: 0x7002,
  name: 'bench.call',
  priority: 'interactive',
  params: Type.Object({ text: Type.String() }),
  reply: Type.Object({ text: Type.String() }),
  bytes: 'none',
} as const satisfies StreamKind;

/** Gives back what it gets, as a terminal does. */
export const echoKind = {
  ...common,
  code: 0x7003,
  name: 'bench.echo',
  priority: 'interactive',
  params: Type.Object({}),
  reply: Type.Object({}),
  bytes: 'both',
} as const satisfies StreamKind;

/** A container's log without end, or bytes in its place that nothing makes smaller. */
export const logKind = {
  ...common,
  code: 0x7004,
  name: 'bench.log',
  priority: 'bulk',
  compressible: true,
  params: Type.Object({ sample: Type.Enum(['access', 'json', 'noise']) }),
  reply: Type.Object({}),
  bytes: 'acceptor',
} as const satisfies StreamKind;

export function isKind<K extends StreamKind>(stream: MuxStream, kind: K): stream is MuxStream<K> {
  return stream.kind.code === kind.code;
}

const CATALOGUE: Catalogue = catalogue(CONTROL_KINDS, [bulkKind, callKind, echoKind, logKind]);

/**
 * What a session allows a stranger is lifted where a benchmark asks for more: 500 bulk streams at once, and calls as fast
 * as they go, each of which is an open; with the product's limits the figure would be the limit. Windows, budgets and what
 * may be queued stay as they are.
 */
const LIMITS = {
  openStreams: 1024,
  unansweredOpens: 1024,
  opensPerSecond: 1_000_000,
  resetsPerSecond: 1_000_000,
  controlFramesPerSecond: 1_000_000,
};

const HELLO: Hello = {
  versions: [1],
  agentVersion: 'bench',
  instanceId: 'bench',
  hostname: 'bench',
  os: 'linux',
  arch: 'x64',
  docker: { reachable: false },
  capabilities: [],
  policy: { allow: [], deny: [] },
};

const WELCOME: Welcome = {
  version: 1,
  hostId: 'bench',
  hostName: 'bench',
  serverVersion: 'bench',
  serverTime: 0,
  heartbeatMs: HEARTBEAT_MS,
  silenceMs: SILENCE_MS,
  limits: { frameBytes: MAX_FRAME_BYTES, windowBytes: INITIAL_WINDOW_BYTES, streams: 1024 },
};

function makeSession(side: 'server' | 'agent', ws: WebSocket, onStream: (stream: MuxStream) => void): Session {
  return new Session({
    side,
    transport: wsTransport(ws),
    catalogue: CATALOGUE,
    clock: systemClock,
    limits: LIMITS,
    onStream,
    onControl: () => undefined,
  });
}

/** A ready session at the server's end. */
export async function serveSession(ws: WebSocket): Promise<Session> {
  const session = makeSession('server', ws, () => undefined);
  const greeting = await receiveHello(session);
  session.sendControl(welcome, { ...WELCOME, ...chosenCompression(greeting.hello) });
  return session;
}

/** A ready session at the agent's end. */
export async function joinSession(
  ws: WebSocket,
  onStream: (stream: MuxStream) => void,
  compression: readonly string[] = [],
): Promise<Session> {
  const session = makeSession('agent', ws, onStream);
  await greetServer(session, { ...HELLO, compression: [...compression] });
  return session;
}

export interface MuxLink extends EchoLink {
  /** The server's end, in this process. */
  readonly session: Session;
  /** Bytes that arrive in this process. */
  readonly counter: Counter;
  /** Heap and buffers of the other process, in bytes, after a full collection. */
  otherMemory(): Promise<number>;
}

/** A session between this process, the server's end, and a new one. */
export async function openMux(tls: BenchTls, route: Route = direct): Promise<MuxLink> {
  const peer = startPeer<MuxPeer>('mux.ts');
  const listener = await listenWs(tls);
  const arrival = once(listener.sockets, 'connection') as Promise<[WebSocket]>;
  const connected = peer.call('connect', { port: await route(listener.port), tls });
  const [session] = await Promise.all([arrival.then(([ws]) => serveSession(ws)), connected]);
  const counter = new Counter();
  const text = 'q'.repeat(CALL_BYTES);
  return {
    session,
    counter,
    otherMemory: () => peer.call('memory'),
    start: (direction, streams) => startBulk(session, counter, direction, streams),
    sample: async (direction) => (direction === 'down' ? counter.sample() : await peer.call('sample')),
    async call() {
      await session.open(callKind, { text }).reply;
    },
    async echo() {
      const stream = session.open(echoKind, {});
      await stream.reply;
      stream.bytes.on('error', () => undefined); // the end of the other process
      return echoOver(stream.bytes);
    },
    async close() {
      listener.close();
      await peer.close();
    },
  };
}

async function startBulk(session: Session, counter: Counter, direction: Direction, streams: number): Promise<void> {
  for (let i = 0; i < streams; i++) {
    const stream = session.open(bulkKind, { down: direction === 'down' });
    await stream.reply;
    stream.bytes.on('error', () => undefined); // the end of the other process
    stream.bytes.on('data', (data: Buffer) => {
      counter.bytes += data.length;
    });
    if (direction === 'up') pump(stream.bytes);
  }
}
