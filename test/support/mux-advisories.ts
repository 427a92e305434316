/** What the tests of attacks on sessions share: raw peers in memory and on real connections, and how often they act. */
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { encode } from '@msgpack/msgpack';
import { MAX_OPENS_PER_SECOND } from '../../shared/limits.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import { FakeClock } from './fake-clock.ts';
import { settle } from './mux.ts';
import { mtlsWsNetwork, type WsNetwork } from './mux-transports.ts';
import { type Neighbour, neighbour } from './raw-neighbour.ts';
import { type RawSession, type RawSessionOptions, readyRawSession } from './raw-session.ts';
import type { WireSession } from './raw-wire.ts';
import { within } from './wait.ts';

export const pack = (value: unknown) => encode(value);

export const chunk = (bytes: number) => pack(new Uint8Array(bytes));

export const openFrame = (
  kind: { readonly code: number },
  id: number,
  params: unknown,
  flags: number = FLAGS.OPEN | FLAGS.END,
) => encodeFrame(kind.code, id, flags, pack(params));

/** Where a session says no more to its transport: what it may hold there. */
export const HIGH_WATER_BYTES = 256 * 1024;

export const OPENS_AT_ONCE = 10 * MAX_OPENS_PER_SECOND;

/** A network with a session that behaves beside those that attack; both are gone after the test file. */
export async function networkWithNeighbour(): Promise<{ network: WsNetwork; nextDoor: Neighbour }> {
  const network = await mtlsWsNetwork();
  const nextDoor = await neighbour(network);
  after(async () => {
    nextDoor.close();
    await network.close();
  });
  return { network, nextDoor };
}

/** A raw peer in memory, on a clock that stands still. */
export async function scene(options: RawSessionOptions = {}): Promise<RawSession> {
  const raw = await readyRawSession({ clock: new FakeClock(), ...options });
  await settle();
  return raw;
}

export async function ended(
  { session }: { session: RawSession['session'] },
  code: string,
  reason = /./,
): Promise<void> {
  const end = await within(5000, `an end with ${code}`, session.closed);
  assert.equal(end.code, code, end.reason);
  assert.match(end.reason, reason);
  assert.equal(end.by, 'local');
  assert.equal(session.openStreams, 0);
}

/** Acts so often, or until the session ends, with turns of the event loop in between. */
export async function repeat(raw: RawSession, most: number, act: (index: number) => void): Promise<void> {
  for (let index = 0; index < most && !raw.session.draining; index += 1) {
    act(index);
    if (index % 100 === 99) await settle(3);
  }
  await settle();
}

/** The same on a real connection: frames of `act` leave in batches. */
export async function flood(
  { wire, session }: WireSession,
  most: number,
  act: (index: number) => Uint8Array,
): Promise<void> {
  for (let index = 0; index < most && !wire.gone && !session.draining; ) {
    const batch: Uint8Array[] = [];
    for (; batch.length < 200 && index < most; index += 1) batch.push(act(index));
    await wire.frames(...batch);
  }
}

export function held({ session, transport }: WireSession): number {
  const { control, interactive, bulk } = session.stats.queuedBytes;
  return control + interactive + bulk + transport.bufferedBytes;
}
