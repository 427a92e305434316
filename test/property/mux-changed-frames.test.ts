/** A conversation that was right until bytes of one frame were changed: the session goes on or ends with a code, and nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { ERRORS, FairleadError } from '../../shared/errors.ts';
import { goaway, heartbeat, ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeDataHead, encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import { changedBytes } from '../support/mutations.ts';
import { callKind, execKind, listKind, pipeKind, settle } from '../support/mux.ts';
import { readyRawSession } from '../support/raw-session.ts';

const { OPEN, END, MORE, DEFLATED } = FLAGS;
const frame = (type: number, stream: number, flags: number, value: unknown) =>
  Buffer.from(encodeFrame(type, stream, flags, encode(value)));
const data = (stream: number, bytes: number, flags = 0) =>
  Buffer.concat([encodeDataHead(stream, flags, bytes), Buffer.alloc(bytes, 0x61)]);
const beat = { seq: 1, time: 1, load: [0, 0, 0], streams: 0, docker: { reachable: false } };

/** What a well-behaved agent may send, in an order that is allowed. */
const CONVERSATION: readonly Buffer[] = [
  frame(heartbeat.code, 0, 0, beat),
  frame(callKind.code, 1, OPEN | END, { text: 'x'.repeat(300) }),
  frame(pipeKind.code, 3, OPEN, {}),
  data(3, 1_000),
  frame(execKind.code, 5, OPEN, {}),
  frame(MECHANICS['stream.signal'], 5, 0, { resize: 3 }),
  data(5, 10),
  frame(MECHANICS['stream.window'], 5, 0, { limit: 400_000 }),
  frame(ping.code, 0, 0, { id: 7 }),
  Buffer.from(
    encodeFrame(
      MECHANICS['stream.data'],
      3,
      DEFLATED,
      deflateRawSync(Buffer.concat([Buffer.of(0xc5, 2, 0), Buffer.alloc(512)])),
    ),
  ),
  frame(listKind.code, 7, OPEN | END, {}),
  frame(MECHANICS['session.ack'], 0, 0, { bytes: 0, at: 0 }),
  data(5, 0, END),
  data(3, 70_000, END),
  frame(MECHANICS['stream.reset'], 5, 0, { code: 'CANCELLED', message: 'left' }),
  frame(goaway.code, 0, 0, { code: 'SHUTDOWN', reason: 'done', lastStream: 0 }),
];

async function talk(frames: readonly Buffer[]): Promise<string | undefined> {
  const { session, peer, streams } = await readyRawSession({
    compression: true,
    onStream: (stream) => {
      stream.bytes.on('error', () => undefined).resume();
      if (stream.kind.bytes !== 'none') stream.sendReply({});
    },
  });
  let end: string | undefined;
  void session.closed.then(({ code }) => {
    end = code;
  });
  for (const each of frames) peer.raw(each);
  await settle();
  for (const stream of streams) stream.reset(new FairleadError('CANCELLED', 'over'));
  const before = end;
  session.destroy(new FairleadError('SHUTDOWN', 'the test is over'));
  await session.closed;
  return before;
}

test('the conversation itself breaks no rule', async () => {
  assert.equal(await talk(CONVERSATION.slice(0, -1)), undefined);
});

test('with one frame changed, the session goes on or ends with a code', async () => {
  const changed = fc
    .nat({ max: CONVERSATION.length - 1 })
    .chain((at) =>
      changedBytes([CONVERSATION[at] ?? Buffer.alloc(0), ...CONVERSATION]).map((bytes) => ({ at, bytes })),
    );
  const ends = new Map<string | undefined, number>();
  await fc.assert(
    fc.asyncProperty(changed, async ({ at, bytes }) => {
      const end = await talk(CONVERSATION.with(at, bytes));
      ends.set(end, (ends.get(end) ?? 0) + 1);
      assert.ok(end === undefined || Object.hasOwn(ERRORS, end), String(end));
    }),
    { numRuns: 600 },
  );
  assert.ok(ends.has('PROTOCOL_ERROR') && ends.has('MESSAGE_INVALID'), JSON.stringify([...ends]));
});

test('with frames left out, repeated and in another order too', async () => {
  const order = fc.array(fc.nat({ max: CONVERSATION.length - 1 }), { minLength: 1, maxLength: 24 });
  await fc.assert(
    fc.asyncProperty(order, fc.nat({ max: 7 }), async (places, flags) => {
      const frames = places.map((at) => Buffer.from(CONVERSATION[at] ?? []));
      const odd = frames[flags % frames.length];
      // A flag too many or too few.
      if (flags === MORE && odd !== undefined) odd.writeUInt16BE(odd.readUInt16BE(6) ^ MORE, 6);
      const end = await talk(frames);
      assert.ok(end === undefined || Object.hasOwn(ERRORS, end), String(end));
    }),
    { numRuns: 300 },
  );
});
