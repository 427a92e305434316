/** Kinds, greetings and pairs of sessions for tests of the mux. */
import Type from 'typebox';
import type { Clock } from '../../shared/clock.ts';
import { systemClock } from '../../shared/clock.ts';
import { HEARTBEAT_MS, SILENCE_MS } from '../../shared/limits.ts';
import { CONTROL_KINDS, type Hello, type Welcome, welcome } from '../../shared/messages/control.ts';
import { catalogue, type StreamKind } from '../../shared/messages/kind.ts';
import { COMPRESSIONS, chosenCompression, greetServer, receiveHello } from '../../shared/mux/handshake.ts';
import type { MemoryPool } from '../../shared/mux/memory-pool.ts';
import { Session, type SessionOptions } from '../../shared/mux/session.ts';
import type { SessionLimits } from '../../shared/mux/session-limits.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { Transport } from '../../shared/mux/transport.ts';
import { type MemoryPair, memoryPair } from './memory-pair.ts';

const common = { from: 'both', role: 'viewer', policy: 'read' } as const;
const text = Type.Object({ text: Type.String() });

/** One answer to one question. */
export const callKind = {
  ...common,
  code: 0x7001,
  name: 'test.call',
  priority: 'interactive',
  params: text,
  reply: text,
  bytes: 'none',
} as const satisfies StreamKind;

/** Bytes both ways, like a connection. */
export const pipeKind = {
  ...common,
  code: 0x7002,
  name: 'test.pipe',
  priority: 'bulk',
  params: Type.Object({}),
  reply: Type.Object({}),
  bytes: 'both',
} as const satisfies StreamKind;

/** Bytes both ways, signals, and an exit code, like an exec. */
export const execKind = {
  ...common,
  code: 0x7003,
  name: 'test.exec',
  priority: 'interactive',
  params: Type.Object({}),
  reply: Type.Object({}),
  signal: Type.Object({ resize: Type.Integer() }),
  trailer: Type.Object({ code: Type.Integer() }),
  bytes: 'both',
} as const satisfies StreamKind;

/** Items only. */
export const listKind = {
  ...common,
  code: 0x7004,
  name: 'test.list',
  priority: 'interactive',
  compressible: true,
  params: Type.Object({}),
  reply: Type.Object({}),
  item: Type.Object({ n: Type.Integer(), fill: Type.Optional(Type.String()) }),
  bytes: 'none',
} as const satisfies StreamKind;

/** Bytes from the acceptor only, like a log. */
export const logKind = {
  ...common,
  code: 0x7005,
  name: 'test.log',
  priority: 'bulk',
  compressible: true,
  params: Type.Object({}),
  reply: Type.Object({}),
  bytes: 'acceptor',
} as const satisfies StreamKind;

/** Bytes from the opener only, answered at the end, like an upload. */
export const putKind = {
  ...common,
  code: 0x7006,
  name: 'test.put',
  priority: 'bulk',
  params: Type.Object({}),
  reply: Type.Object({ bytes: Type.Integer() }),
  bytes: 'opener',
} as const satisfies StreamKind;

/** What any MessagePack value may fill. */
export const anyKind = {
  ...common,
  code: 0x7007,
  name: 'test.any',
  priority: 'interactive',
  compressible: true,
  params: Type.Unknown(),
  reply: Type.Unknown(),
  item: Type.Unknown(),
  bytes: 'none',
} as const satisfies StreamKind;

/** What only the server opens. */
export const serverOnlyKind = { ...callKind, code: 0x7008, name: 'test.server-only', from: 'server' } as const;

export const TEST_KINDS = [callKind, pipeKind, execKind, listKind, logKind, putKind, anyKind, serverOnlyKind] as const;
export const TEST_CATALOGUE = catalogue(CONTROL_KINDS, TEST_KINDS);

export const HELLO: Hello = {
  versions: [1],
  agentVersion: '0.0.0',
  instanceId: 'instance',
  hostname: 'host',
  os: 'linux',
  arch: 'x64',
  docker: { reachable: false },
  capabilities: [],
  policy: { allow: [], deny: [] },
};

/** A welcome that says what `session` takes. */
export function welcomeFrom(session: Session): Welcome {
  return {
    version: 1,
    hostId: 'id',
    hostName: 'host',
    serverVersion: '0.0.0',
    serverTime: 0,
    heartbeatMs: HEARTBEAT_MS,
    silenceMs: SILENCE_MS,
    limits: session.advertised,
  };
}

export type StreamHandler = (stream: MuxStream) => void;

export interface MuxPairOptions {
  readonly clock?: Clock;
  readonly limits?: Partial<SessionLimits>;
  /** The process's memory at each end. */
  readonly memory?: { readonly server?: MemoryPool; readonly agent?: MemoryPool };
  /** Whether the greeting agrees on compressed frames. */
  readonly compression?: boolean;
  /** Takes streams that the agent opened. */
  readonly onServer?: StreamHandler;
  /** Takes streams that the server opened. */
  readonly onAgent?: StreamHandler;
  readonly onControl?: SessionOptions['onControl'];
}

function refuse(stream: MuxStream): void {
  throw new Error(`nobody takes ${stream.kind.name}`);
}

export interface MuxPair {
  readonly server: Session;
  readonly agent: Session;
}

/** Two sessions over two joined transports, not yet greeted. */
export function sessionsOver(
  transports: { server: Transport; agent: Transport },
  options: MuxPairOptions = {},
): MuxPair {
  const make = (side: 'server' | 'agent', transport: Transport, onStream: StreamHandler) =>
    new Session({
      side,
      transport,
      catalogue: TEST_CATALOGUE,
      clock: options.clock ?? systemClock,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      ...(options.memory?.[side] === undefined ? {} : { memory: options.memory[side] }),
      onStream,
      onControl: options.onControl ?? (() => undefined),
    });
  return {
    server: make('server', transports.server, options.onServer ?? refuse),
    agent: make('agent', transports.agent, options.onAgent ?? refuse),
  };
}

/** Greets: both sessions are ready then. */
export async function greet({ server, agent }: MuxPair, options: { compression?: boolean } = {}): Promise<void> {
  const offered = options.compression === true ? { compression: [...COMPRESSIONS] } : {};
  const welcomed = greetServer(agent, { ...HELLO, ...offered });
  const greeting = await receiveHello(server);
  server.sendControl(welcome, { ...welcomeFrom(server), ...chosenCompression(greeting.hello) });
  await welcomed;
}

/** Two ready sessions over any transports. */
export async function readyOver(
  transports: { server: Transport; agent: Transport },
  options: MuxPairOptions = {},
): Promise<MuxPair> {
  const pair = sessionsOver(transports, options);
  await greet(pair, options);
  return pair;
}

export interface ReadyMemoryPair extends MuxPair {
  readonly link: MemoryPair;
}

/** Two ready sessions in memory. */
export async function readyPair(options: MuxPairOptions & { highWaterBytes?: number } = {}): Promise<ReadyMemoryPair> {
  const link = memoryPair(options);
  return { ...(await readyOver(link, options)), link };
}

/** Makes a session believe that its link delivers so many bytes per second. */
export function pretendRate(session: Session, rate: number | undefined): void {
  Object.defineProperty(session.stats.link, 'deliveryRateAt', { configurable: true, value: () => rate });
}

/** Everything a readable gives, in one buffer. */
export async function readAll(readable: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readable) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Lets everything that is on its way in memory arrive: so many turns of the event loop. */
export async function settle(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}
