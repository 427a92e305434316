/** What is typed goes to the agent in order, no two frames at once, and no byte is lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INPUT_BUFFER_BYTES, INPUT_FRAME_BYTES, INPUT_GAP_MS } from '../../../../server/hawser/limits.ts';
import { TerminalInput } from '../../../../server/hawser/terminal-input.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

function setUp() {
  const clock = new FakeClock();
  const frames: { at: number; bytes: Buffer }[] = [];
  const input = new TerminalInput(clock, (bytes) => frames.push({ at: clock.monotonic(), bytes }));
  return { clock, frames, input };
}

test('the first key goes at once, what comes meanwhile as one frame', () => {
  const { clock, frames, input } = setUp();
  for (const key of 'abcdef') input.write(Buffer.from(key), () => undefined);
  assert.deepEqual(
    frames.map(({ bytes }) => bytes.toString()),
    ['a'],
  );
  clock.advance(INPUT_GAP_MS);
  assert.deepEqual(
    frames.map(({ bytes }) => bytes.toString()),
    ['a', 'bcdef'],
  );
  clock.advance(100);
  input.write(Buffer.from('g'), () => undefined);
  assert.equal(frames.length, 3);
});

test('a large paste goes in frames with time between them, and its writer waits', () => {
  const { clock, frames, input } = setUp();
  const paste = Buffer.alloc(INPUT_BUFFER_BYTES * 2, 'p');
  let isTaken = false;
  input.write(paste, () => {
    isTaken = true;
  });
  assert.equal(isTaken, false);
  clock.advance(100);
  assert.equal(isTaken, true);
  assert.deepEqual(Buffer.concat(frames.map(({ bytes }) => bytes)), paste);
  for (const [at, frame] of frames.entries()) {
    assert.ok(frame.bytes.byteLength <= INPUT_FRAME_BYTES);
    if (at > 0) assert.ok(frame.at - (frames[at - 1]?.at ?? 0) >= INPUT_GAP_MS);
  }
});

test('the end of the input is a key, behind all that was typed', () => {
  const { clock, frames, input } = setUp();
  let isEnded = false;
  input.write(Buffer.from('ls'), () => undefined);
  input.end(() => {
    isEnded = true;
  });
  clock.advance(100);
  assert.equal(isEnded, true);
  assert.equal(Buffer.concat(frames.map(({ bytes }) => bytes)).toString(), 'ls\u0004');
});

test('whoever types to an agent that takes nothing is told', () => {
  const clock = new FakeClock();
  const input = new TerminalInput(clock, () => {
    throw new Error('it does not read');
  });
  const told: unknown[] = [];
  input.write(Buffer.alloc(INPUT_BUFFER_BYTES), (error) => told.push(error?.message));
  assert.deepEqual(told, ['it does not read']);
});
