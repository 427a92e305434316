/** Whatever a peer sends, a session ends with a code or goes on; it never throws, hangs, or harms its other streams' data. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { ERRORS } from '../../shared/errors.ts';
import { CONTROL_KINDS } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeDataHead, encodeFrame } from '../../shared/mux/frame.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { memoryPair } from '../support/memory-pair.ts';
import {
  execKind,
  HELLO,
  listKind,
  pipeKind,
  readyPair,
  sessionsOver,
  settle,
  TEST_KINDS,
  welcomeFrom,
} from '../support/mux.ts';

const types = [
  ...Object.values(MECHANICS),
  ...CONTROL_KINDS.map(({ code }) => code),
  ...TEST_KINDS.map(({ code }) => code),
];
const type = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom(...types) },
  { weight: 1, arbitrary: fc.nat({ max: 0xffff }) },
);
const stream = fc.oneof(
  { weight: 20, arbitrary: fc.nat({ max: 12 }) },
  { weight: 1, arbitrary: fc.nat({ max: 0xffff_ffff }) },
);
const flags = fc.oneof(
  { weight: 20, arbitrary: fc.nat({ max: 7 }) },
  { weight: 1, arbitrary: fc.nat({ max: 0xffff }) },
);
const payloads = [
  {},
  { text: 'x' },
  { limit: 300_000 },
  { limit: 0 },
  { limit: Number.MAX_SAFE_INTEGER },
  { code: 'CONFLICT', message: '' },
  { code: 'FUTURE', message: 'x' },
  { bytes: 0 },
  { bytes: 1 },
  { resize: 1 },
  { n: 1 },
  { id: 1 },
  { code: 0 },
  { seq: 1, time: 0 },
  { code: 'SHUTDOWN', reason: '', lastStream: 0 },
  HELLO,
  [],
  null,
];
const payload = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom(...payloads).map((value) => encode(value)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 30 }) },
);
const frame = fc.oneof(
  { weight: 10, arbitrary: fc.tuple(type, stream, flags, payload).map((parts) => encodeFrame(...parts)) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(stream, flags, fc.nat({ max: 400 }))
      .map(([id, bits, bytes]) => Buffer.concat([encodeDataHead(id, bits, bytes), Buffer.alloc(bytes)])),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }) },
);
const script = fc.array(frame, { minLength: 1, maxLength: 12 });

/** What a peer may well send, if only it came at the right moment. `opens` counts its own streams, from 0. */
type Plausible = (firstOwn: number, firstTheirs: number, opens: { count: number }) => Uint8Array;
const { 'stream.data': DATA, 'stream.window': WINDOW, 'stream.reset': RESET, 'stream.signal': SIGNAL } = MECHANICS;
const nth = fc.nat({ max: 2 });
const plausible: fc.Arbitrary<Plausible> = fc.oneof(
  fc.tuple(nth, fc.nat({ max: 3000 }), fc.constantFrom(0, 0, 0, 2)).map(
    ([at, bytes, bits]): Plausible =>
      (_, theirs) => {
        return Buffer.concat([encodeDataHead(theirs + 2 * at, bits, bytes), Buffer.alloc(bytes)]);
      },
  ),
  fc.tuple(nth, fc.nat({ max: 2 ** 21 })).map(
    ([at, by]): Plausible =>
      (_, theirs) => {
        return encodeFrame(WINDOW, theirs + 2 * at, 0, encode({ limit: 256 * 1024 + by }));
      },
  ),
  fc.tuple(nth, fc.constantFrom(DATA, RESET)).map(
    ([at, kind]): Plausible =>
      (_, theirs) => {
        const value = kind === RESET ? { code: 'CONFLICT', message: 'x' } : new Uint8Array(3);
        return encodeFrame(kind, theirs + 2 * at, 0, encode(value));
      },
  ),
  fc.nat({ max: 99 }).map(
    (n): Plausible =>
      (_, theirs) =>
        encodeFrame(MECHANICS.item, theirs + 4, 0, encode({ n })),
  ),
  fc.nat({ max: 99 }).map(
    (id): Plausible =>
      () =>
        encodeFrame(0x0005, 0, 0, encode({ id })),
  ),
  fc.constantFrom(...TEST_KINDS.filter(({ from }) => from === 'both')).map(
    (kind): Plausible =>
      (own, _, opens) => {
        const id = own + 2 * opens.count;
        opens.count += 1;
        return encodeFrame(
          kind.code,
          id,
          kind.bytes === 'both' || kind.bytes === 'opener' ? 1 : 3,
          encode({ text: '' }),
        );
      },
  ),
  fc.nat({ max: 9 }).map(
    (resize): Plausible =>
      (own) =>
        encodeFrame(SIGNAL, own, 0, encode({ resize })),
  ),
);
const talk = fc.array(
  fc.oneof(
    { weight: 40, arbitrary: plausible },
    {
      weight: 1,
      arbitrary: frame.map(
        (bytes): Plausible =>
          () =>
            bytes,
      ),
    },
  ),
  { minLength: 1, maxLength: 30, size: 'max' },
);

/** Takes a stream as an application does that reads and answers. */
function serve(taken: MuxStream): void {
  taken.sendReply({ text: '', bytes: 0 } as never);
  taken.bytes.resume();
  if (taken.kind.signal !== undefined) taken.onSignal(() => undefined);
}

const acceptable = (code: string) =>
  assert.ok(Object.hasOwn(ERRORS, code) && code !== 'INTERNAL', `it ended with ${code}`);

test('any frames to a session that is ready', { timeout: 30_000 }, async () => {
  let survived = 0;
  let tried = 0;
  await fc.assert(
    fc.asyncProperty(talk, fc.boolean(), async (frames, toServer) => {
      tried += 1;
      const clock = new FakeClock();
      const { server, agent, link } = await readyPair({ clock, onServer: serve, onAgent: serve });
      const [victim, attacker] = toServer ? [server, link.agent] : [agent, link.server];
      const streams = [pipeKind, execKind, listKind].map((kind) => victim.open(kind, {}) as unknown as MuxStream);
      for (const one of streams) one.bytes.resume();
      await settle(3);
      const opens = { count: 0 };
      for (const make of frames) attacker.inject(toServer ? make(1, 2, opens) : make(2, 1, opens));
      await settle(3);
      const ended = await Promise.race([victim.closed, Promise.resolve(undefined)]);
      if (ended === undefined && !victim.draining) {
        survived += 1;
        for (const { flow } of streams) assert.ok(flow.taken <= flow.received && flow.received <= flow.receiveLimit);
      }
      link.cut();
      acceptable((await victim.closed).code);
      assert.equal(victim.openStreams, 0);
      for (const one of streams) assert.equal(one.state, 'closed');
      assert.equal(clock.pendingTimers, 0);
    }),
    { numRuns: 800, interruptAfterTimeLimit: 2_500 },
  );
  // How many are tried depends on how busy the machine is.
  assert.ok(survived > tried / 40, `${survived} of ${tried} sessions went on`);
});

test('any frames to a session that has not been greeted', { timeout: 30_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(script, fc.boolean(), async (frames, toServer) => {
      const link = memoryPair();
      const { server, agent } = sessionsOver(link, { clock: new FakeClock() });
      const [victim, attacker] = toServer ? [server, link.agent] : [agent, link.server];
      if (!toServer) attacker.inject(encodeFrame(0x0002, 0, 0, encode(welcomeFrom(server))));
      for (const bytes of frames) attacker.inject(bytes);
      await settle(3);
      link.cut();
      acceptable((await victim.closed).code);
      assert.equal(victim.openStreams, 0);
    }),
    { numRuns: 500, interruptAfterTimeLimit: 1_500 },
  );
});
