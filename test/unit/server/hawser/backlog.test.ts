/** What waits for a reader comes out as it went in, in pieces of a good size, and takes no more than a few times its bytes. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { Backlog, PIECE_BYTES } from '../../../../server/hawser/backlog.ts';
import { HeldBytes } from '../../../../server/hawser/held-bytes.ts';
import { InboundGate } from '../../../../server/hawser/inbound-gate.ts';
import { SOFT_BUFFER_BYTES } from '../../../../server/hawser/limits.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const SOURCE = randomBytes(4 * PIECE_BYTES);
/** An agent may send a line of a few bytes in a message of its own. */
const LINE = Buffer.from('.\n');

function gate(): InboundGate {
  return new InboundGate({ clock: new FakeClock(), pause: () => undefined, resume: () => undefined });
}

test('whatever is added and taken in whatever order comes out as it went in, and is counted', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ add: fc.integer({ min: 0, max: 3 * PIECE_BYTES }), whole: fc.boolean() }) },
    { weight: 1, arbitrary: fc.constant('take' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const backlog = new Backlog();
      const [given, taken]: [Buffer[], Buffer[]] = [[], []];
      const take = () => {
        const piece = backlog.take();
        if (piece === undefined) return false;
        assert.ok(piece.byteLength > 0 && piece.byteLength <= PIECE_BYTES);
        taken.push(piece);
        return true;
      };
      for (const one of steps) {
        if (one === 'take') take();
        else {
          const bytes = SOURCE.subarray(given.length, given.length + one.add);
          given.push(bytes);
          if (one.whole) backlog.addWhole(bytes);
          else backlog.add(bytes);
        }
        assert.equal(backlog.length, Buffer.concat(given).byteLength - Buffer.concat(taken).byteLength);
      }
      while (take());
      assert.ok(Buffer.concat(taken).equals(Buffer.concat(given)));
    }),
    { numRuns: 60 },
  );
});

test('lines that come one by one are read as one, and the end comes behind them', async () => {
  const bytes = new HeldBytes(gate(), () => undefined);
  const pieces: Buffer[] = [];
  bytes.on('data', (piece: Buffer) => pieces.push(piece));
  await new Promise(setImmediate);
  for (let n = 0; n < 1000; n++) bytes.receive(LINE);
  await new Promise(setImmediate);
  assert.deepEqual(
    pieces.map(({ byteLength }) => byteLength),
    [2000],
  );
  for (let n = 0; n < 1000; n++) bytes.receive(LINE);
  bytes.finish();
  await new Promise((resolve) => bytes.once('end', resolve));
  assert.equal(Buffer.concat(pieces).byteLength, 4000);
  assert.equal(bytes.hasFinished, true);
});

test('a reader that does not read has no more than its bytes in memory, however small they came', () => {
  const bytes = new HeldBytes(gate(), () => undefined);
  const before = process.memoryUsage();
  for (let sent = 0; sent < SOFT_BUFFER_BYTES; sent += LINE.byteLength) bytes.receive(Buffer.from(LINE));
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  const tookBytes = heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers;
  // Half a million buffers of two bytes take a hundred times as much.
  assert.ok(tookBytes < 16 * SOFT_BUFFER_BYTES, `${tookBytes} bytes for ${SOFT_BUFFER_BYTES}`);
  bytes.destroy();
});

test('what comes in one turn is counted before it is read', () => {
  const clock = new FakeClock();
  let isPaused = false;
  let pressed = 0;
  const pause = () => {
    isPaused = true;
  };
  const bytes = new HeldBytes(new InboundGate({ clock, pause, resume: () => undefined }), () => undefined);
  bytes.on('pressing', () => pressed++);
  bytes.resume();
  bytes.read(0);
  for (let sent = 0; sent <= SOFT_BUFFER_BYTES + PIECE_BYTES; sent += 4096) bytes.receive(SOURCE.subarray(0, 4096));
  assert.deepEqual([isPaused, bytes.isPressing, pressed], [true, true, 1]);
  bytes.destroy();
});
