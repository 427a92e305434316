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
const script = fc.oneof(
  fc.array(frame, { minLength: 1, maxLength: 3 }),
  fc.array(frame, { minLength: 1, maxLength: 25, size: 'max' }),
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
  await fc.assert(
    fc.asyncProperty(script, fc.boolean(), async (frames, toServer) => {
      const clock = new FakeClock();
      const { server, agent, link } = await readyPair({ clock, onServer: serve, onAgent: serve });
      const [victim, attacker] = toServer ? [server, link.agent] : [agent, link.server];
      const streams = [pipeKind, execKind, listKind].map((kind) => victim.open(kind, {}) as unknown as MuxStream);
      await settle(3);
      for (const bytes of frames) attacker.inject(bytes);
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
  assert.ok(survived > 20, `${survived} sessions went on`);
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
