/** Sessions under attack: one end can send any bytes, streams are open in every role, and a neighbour must not notice. */
import assert from 'node:assert/strict';
import { decode, encode } from '@msgpack/msgpack';
import { type ErrorCode, isFairleadError } from '../../shared/errors.ts';
import { SILENCE_MS } from '../../shared/limits.ts';
import { hello, welcome } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { receiveHello } from '../../shared/mux/handshake.ts';
import { Session, type SessionEnd } from '../../shared/mux/session.ts';
import type { SessionLimits } from '../../shared/mux/session-limits.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { FakeClock } from './fake-clock.ts';
import { type MemoryTransport, memoryPair } from './memory-pair.ts';
import {
  callKind,
  execKind,
  HELLO,
  listKind,
  logKind,
  type MuxPair,
  pipeKind,
  readyPair,
  type StreamHandler,
  settle,
  TEST_CATALOGUE,
  welcomeFrom,
} from './mux.ts';
import { within } from './wait.ts';

export const pack = (value: unknown): Uint8Array => encode(value);
const NOTHING = new Uint8Array(0);

/** A frame by the layout in PROTOCOL.md, written without the mux's own codec. */
export function frame(type: number, stream: number, flags = 0, payload: Uint8Array = NOTHING): Uint8Array {
  const bytes = Buffer.alloc(8 + payload.byteLength);
  bytes.writeUInt16BE(type, 0);
  bytes.writeUInt32BE(stream, 2);
  bytes.writeUInt16BE(flags, 6);
  bytes.set(payload, 8);
  return bytes;
}

/**
 * Puts frames on the wire behind the back of the session that sends there: acks that speak of them, too, would end it.
 * @returns what sends them
 */
function smuggler(transport: MemoryTransport): (frame: Uint8Array) => void {
  let smuggled = 0;
  let acked = 0;
  transport.rewrite = (message) => {
    if (Buffer.from(message).readUInt16BE(0) !== MECHANICS['session.ack']) return message;
    const ack = decode(message.subarray(8)) as { bytes: number };
    acked = Math.max(acked, ack.bytes - smuggled);
    return frame(MECHANICS['session.ack'], 0, 0, pack({ ...ack, bytes: acked }));
  };
  return (one) => {
    smuggled += one.byteLength;
    transport.inject(one);
  };
}

/** Answers everything but calls and logs, which wait for ever, and then does nothing. */
function hold(stream: MuxStream): void {
  if (stream.kind.code !== callKind.code && stream.kind.code !== logKind.code) stream.sendReply({});
}

function echo(stream: MuxStream): void {
  stream.sendReply(stream.params);
}

export type Victim = 'server' | 'agent';

/** Ids of the streams that are open. Calls and logs have no reply yet. */
export interface OpenIds {
  /** Opened by the attacker. */
  readonly theirs: { readonly pipe: number; readonly exec: number; readonly list: number; readonly call: number };
  /** Opened by the victim. */
  readonly mine: {
    readonly pipe: number;
    readonly exec: number;
    readonly list: number;
    readonly call: number;
    readonly log: number;
  };
  /** The next id of the attacker's own. */
  readonly next: number;
  /** The next id of the victim's own, which is not the attacker's to use. */
  readonly foreign: number;
}

export interface Attack {
  readonly clock: FakeClock;
  readonly victim: Session;
  readonly attacker: Session;
  readonly ids: OpenIds;
  /** The victim's and the attacker's ends of all streams, by id. */
  readonly ends: { readonly victim: Map<number, MuxStream>; readonly attacker: Map<number, MuxStream> };
  /** Puts frames on the wire to the victim. */
  send(...frames: Uint8Array[]): void;
  /** The victim has ended the session with `code` and nothing is left; streams but `reset` ones were interrupted. */
  expectEnd(code: ErrorCode, reset?: readonly number[]): Promise<SessionEnd>;
  /** Both ends and the neighbour still work. Ends everything. */
  expectAlive(): Promise<void>;
}

export interface AttackOptions {
  readonly limits?: Partial<SessionLimits>;
  /** Takes what the attacker opens; unless given, calls and logs wait and the rest is answered. */
  readonly onStream?: StreamHandler;
}

/** Two ready sessions with streams between them, and two more as neighbours, all on one clock that stands still. */
export async function attack(side: Victim, options: AttackOptions = {}): Promise<Attack> {
  const clock = new FakeClock();
  const ends = { victim: new Map<number, MuxStream>(), attacker: new Map<number, MuxStream>() };
  const taking = (who: Victim) => (stream: MuxStream) => {
    ends[who === side ? 'victim' : 'attacker'].set(stream.id, stream);
    if (who === side && options.onStream !== undefined) options.onStream(stream);
    else hold(stream);
  };
  const limits = options.limits === undefined ? {} : { limits: options.limits };
  const pair = await readyPair({ clock, onServer: taking('server'), onAgent: taking('agent'), ...limits });
  const neighbour = await readyPair({ clock, onServer: echo, onAgent: echo });
  const other = side === 'server' ? 'agent' : 'server';
  const victim = pair[side];
  const attacker = pair[other];
  for (const session of [victim, attacker]) session.startLiveness(SILENCE_MS);
  const open = (session: Session, kind: typeof pipeKind | typeof execKind | typeof listKind | typeof logKind) => {
    const stream = session.open(kind, {}) as unknown as MuxStream;
    ends[session === victim ? 'victim' : 'attacker'].set(stream.id, stream);
    return stream.id;
  };
  const call = (session: Session) => {
    const stream = session.open(callKind, { text: '' }) as unknown as MuxStream;
    ends[session === victim ? 'victim' : 'attacker'].set(stream.id, stream);
    return stream.id;
  };
  const four = (session: Session) => ({
    pipe: open(session, pipeKind),
    exec: open(session, execKind),
    list: open(session, listKind),
    call: call(session),
  });
  const smuggle = smuggler(pair.link[other]);
  const theirs = four(attacker);
  const mine = { ...four(victim), log: open(victim, logKind) };
  await settle();
  assert.equal(victim.openStreams, 9);
  return {
    clock,
    victim,
    attacker,
    ids: { theirs, mine, next: theirs.call + 2, foreign: mine.log + 2 },
    ends,
    send: (...frames) => {
      for (const one of frames) smuggle(one);
    },
    async expectEnd(code, reset = []) {
      const end = await expectEnded(victim, code);
      const told = await within(1000, 'the end at the attacker', attacker.closed);
      assert.equal(told.code, code);
      assert.equal(told.by, 'remote');
      for (const [id, stream] of [...ends.victim, ...ends.attacker]) {
        if (!reset.includes(id)) await expectInterrupted(stream);
      }
      assert.equal(attacker.openStreams, 0);
      await finish(neighbour, clock);
      return end;
    },
    async expectAlive() {
      await settle();
      assert.equal(victim.draining, false, 'the session lives');
      await within(1000, 'a ping', victim.ping());
      await finish(pair, clock, neighbour);
    },
  };
}

/** `session` has ended itself with `code`, and holds no stream. */
export async function expectEnded(session: Session, code: ErrorCode): Promise<SessionEnd> {
  const end = await within(2000, `an end with ${code}`, session.closed);
  assert.equal(end.code, code, end.reason);
  assert.equal(end.by, 'local');
  assert.equal(session.openStreams, 0);
  return end;
}

export async function expectInterrupted(stream: MuxStream): Promise<void> {
  const error = await within(1000, `the end of stream ${stream.id}`, stream.closed);
  assert.ok(
    isFairleadError(error, 'STREAM_INTERRUPTED'),
    `stream ${stream.id} ended with ${error?.code ?? 'no error'}`,
  );
  assert.equal(stream.state, 'closed');
}

/** The neighbour serves both ways as if nothing had happened; then everything ends and no timer is left. */
async function finish(first: MuxPair, clock: FakeClock, neighbour: MuxPair = first): Promise<void> {
  for (const session of [neighbour.server, neighbour.agent]) {
    const stream = session.open(callKind, { text: 'still here' });
    assert.deepEqual(await within(1000, 'an answer of the neighbour', stream.reply), { text: 'still here' });
  }
  for (const { server, agent } of new Set([first, neighbour])) {
    const leaving = server.goaway({ code: 'SHUTDOWN', reason: 'the test is over', deadlineMs: 0 });
    clock.advance(0);
    await leaving;
    await agent.closed;
    assert.equal(server.openStreams + agent.openStreams, 0);
  }
  assert.equal(clock.pendingTimers, 0, 'no timer is left');
}

export interface BarePeer {
  readonly clock: FakeClock;
  readonly server: Session;
  send(...frames: Uint8Array[]): void;
}

/** A welcomed server session whose agent is no session: it takes what comes and has no opinion of it. */
export async function barePeer(): Promise<BarePeer> {
  const clock = new FakeClock();
  const link = memoryPair();
  const server = new Session({
    side: 'server',
    transport: link.server,
    catalogue: TEST_CATALOGUE,
    clock,
    onStream: hold,
    onControl: () => undefined,
  });
  const ignore = () => undefined;
  link.agent.attach({ message: ignore, violation: ignore, drained: ignore });
  link.agent.inject(frame(hello.code, 0, 0, pack(HELLO)));
  await receiveHello(server);
  server.sendControl(welcome, welcomeFrom(server));
  server.startLiveness(SILENCE_MS);
  return {
    clock,
    server,
    send: (...frames) => {
      for (const one of frames) link.agent.inject(one);
    },
  };
}

/** Three bytes of a stream, as one frame carries them. */
export const smallChunk = pack(new Uint8Array(3));

export const resetFrame = (id: number): Uint8Array =>
  frame(MECHANICS['stream.reset'], id, 0, pack({ code: 'CANCELLED', message: 'enough' }));

/** The victim's end of a stream. */
export function endOf(scene: Attack, id: number): MuxStream {
  const stream = scene.ends.victim.get(id);
  assert.ok(stream);
  return stream;
}
