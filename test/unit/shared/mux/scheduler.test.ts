import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FRAME_PAYLOAD_BYTES } from '../../../../shared/limits.ts';
import type { Priority } from '../../../../shared/messages/kind.ts';
import { type Flow, FrameQueue, frameBytes, type OutFrame, Scheduler } from '../../../../shared/mux/scheduler.ts';

/** A flow of frames of one size, which counts what was taken from it. */
class TestFlow implements Flow {
  readonly name: string;
  readonly priority: Priority;
  readonly size: number;
  deficit = 0;
  waiting = false;
  frames: number;
  sentBytes = 0;
  sentFrames = 0;

  constructor(name: string, priority: Priority, size: number, frames = Number.POSITIVE_INFINITY) {
    this.name = name;
    this.priority = priority;
    this.size = size;
    this.frames = frames;
  }

  get ready(): boolean {
    return this.frames > 0;
  }

  next(): OutFrame {
    assert.ok(this.ready, `${this.name} was asked although it has nothing`);
    this.frames -= 1;
    this.sentFrames += 1;
    this.sentBytes += this.size;
    return { head: new Uint8Array(this.size) };
  }
}

/** The next frame, on a network that has room. */
function next(scheduler: Scheduler): OutFrame | undefined {
  return scheduler.nextControl() ?? scheduler.nextBody('bulk');
}

/** Takes so many bytes, and returns the sizes of the frames in order. */
function run(scheduler: Scheduler, bytes: number): number[] {
  const sizes: number[] = [];
  for (let sent = 0; sent < bytes; ) {
    const frame = next(scheduler);
    if (frame === undefined) break;
    sent += frameBytes(frame);
    sizes.push(frameBytes(frame));
  }
  return sizes;
}

const control = (mark: number): OutFrame => ({ head: Uint8Array.of(mark) });
const KIB = 1024;

test('a frame counts with its body', () => {
  assert.equal(frameBytes({ head: new Uint8Array(8) }), 8);
  assert.equal(frameBytes({ head: new Uint8Array(8), body: new Uint8Array(5) }), 13);
});

test('nothing waits in a new scheduler', () => {
  const scheduler = new Scheduler();
  assert.equal(scheduler.ready('bulk'), false);
  assert.equal(next(scheduler), undefined);
  assert.equal(scheduler.nextControl(), undefined);
});

test('control goes before everything, in order, whenever it comes', () => {
  const scheduler = new Scheduler();
  const terminal = new TestFlow('terminal', 'interactive', 100);
  const log = new TestFlow('log', 'bulk', 100);
  scheduler.wake(log);
  scheduler.wake(terminal);
  for (let mark = 0; mark < 3; mark += 1) scheduler.pushControl(control(mark));
  assert.deepEqual(
    [0, 1, 2].map(() => next(scheduler)?.head[0]),
    [0, 1, 2],
  );
  assert.equal(next(scheduler)?.head.byteLength, 100);
  scheduler.pushControl(control(3));
  assert.equal(next(scheduler)?.head[0], 3);
});

test('the control queue knows its frames and bytes through thousands of them', () => {
  const scheduler = new Scheduler();
  let pushed = 0;
  let taken = 0;
  for (let round = 0; round < 40; round += 1) {
    for (let count = 0; count < 100; count += 1) {
      scheduler.pushControl({ head: Uint8Array.of(pushed >>> 8, pushed), body: new Uint8Array(3) });
      pushed += 1;
    }
    for (let count = 0; count < 70; count += 1) {
      const head = scheduler.nextControl()?.head ?? new Uint8Array(2);
      assert.equal(((head[0] ?? 0) << 8) | (head[1] ?? 0), taken);
      taken += 1;
    }
    assert.equal(scheduler.controlFrames, pushed - taken);
    assert.equal(scheduler.controlBytes, 5 * (pushed - taken));
  }
  while (scheduler.nextControl() !== undefined) taken += 1;
  assert.equal(taken, pushed);
  assert.equal(scheduler.controlBytes, 0);
  assert.equal(scheduler.ready('bulk'), false);
});

test('a keystroke overtakes a backlog of bulk', () => {
  const scheduler = new Scheduler();
  scheduler.wake(new TestFlow('log', 'bulk', FRAME_PAYLOAD_BYTES));
  run(scheduler, 10 * FRAME_PAYLOAD_BYTES);
  const terminal = new TestFlow('terminal', 'interactive', 20, 1);
  scheduler.wake(terminal);
  assert.deepEqual(run(scheduler, 1), [20]);
});

for (const [interactive, bulk] of [
  [64 * KIB, 64 * KIB],
  [100, 64 * KIB],
  [64 * KIB, 1 * KIB],
  [3 * KIB, 100],
] as const) {
  test(`bulk keeps a tenth: frames of ${interactive} bytes against ${bulk}`, () => {
    const scheduler = new Scheduler();
    const terminal = new TestFlow('terminal', 'interactive', interactive);
    const log = new TestFlow('log', 'bulk', bulk);
    scheduler.wake(terminal);
    scheduler.wake(log);
    run(scheduler, 40 * 1024 * KIB);
    const share = log.sentBytes / (log.sentBytes + terminal.sentBytes);
    assert.ok(Math.abs(share - 0.1) < 0.01, `bulk got ${share}`);
  });
}

test('bulk gets everything that interactive streams leave', () => {
  const scheduler = new Scheduler();
  const terminal = new TestFlow('terminal', 'interactive', 100, 3);
  const log = new TestFlow('log', 'bulk', 64 * KIB, 50);
  scheduler.wake(log);
  scheduler.wake(terminal);
  assert.deepEqual(run(scheduler, Number.POSITIVE_INFINITY), [
    100,
    100,
    100,
    ...Array.from({ length: 50 }, () => 64 * KIB),
  ]);
  assert.equal(scheduler.ready('bulk'), false);
});

test('interactive streams that come alone run up no debt to bulk', () => {
  const scheduler = new Scheduler();
  const terminal = new TestFlow('terminal', 'interactive', 64 * KIB, 1000);
  scheduler.wake(terminal);
  run(scheduler, 1000 * 64 * KIB);
  const log = new TestFlow('log', 'bulk', 64 * KIB, 100);
  scheduler.wake(log);
  terminal.frames = 3;
  scheduler.wake(terminal);
  run(scheduler, 3 * 64 * KIB);
  assert.equal(terminal.sentFrames, 1003);
});

for (const priority of ['interactive', 'bulk'] as const) {
  test(`${priority} streams get the same bytes whatever the size of their frames`, () => {
    const scheduler = new Scheduler();
    const flows = [100, 1000, 16 * KIB, 50_000, 64 * KIB].map((size) => new TestFlow(`${size}`, priority, size));
    for (const flow of flows) scheduler.wake(flow);
    run(scheduler, 5 * 100 * FRAME_PAYLOAD_BYTES);
    for (const flow of flows) {
      const rounds = flow.sentBytes / FRAME_PAYLOAD_BYTES;
      assert.ok(Math.abs(rounds - 100) <= 3, `frames of ${flow.name} got ${rounds} rounds of 100`);
    }
  });
}

test('no stream waits longer than one round of the others', () => {
  const scheduler = new Scheduler();
  const flows = Array.from({ length: 8 }, (_, index) => new TestFlow(`${index}`, 'bulk', 64 * KIB));
  for (const flow of flows) scheduler.wake(flow);
  const order: string[] = [];
  for (let turn = 0; turn < 40; turn += 1) {
    const before = flows.map((flow) => flow.sentFrames);
    next(scheduler);
    order.push(flows.find((flow, index) => flow.sentFrames !== before[index])?.name ?? '');
  }
  for (let start = 0; start + 8 <= order.length; start += 8) {
    assert.equal(new Set(order.slice(start, start + 8)).size, 8, order.join(' '));
  }
});

test('a stream that stops being ready leaves the ring and comes back with the next wake', () => {
  const scheduler = new Scheduler();
  const one = new TestFlow('one', 'bulk', 1000, 2);
  const two = new TestFlow('two', 'bulk', 1000, 5);
  scheduler.wake(one);
  scheduler.wake(two);
  assert.equal(run(scheduler, Number.POSITIVE_INFINITY).length, 7);
  assert.equal(scheduler.ready('bulk'), false);
  assert.deepEqual([one.waiting, one.deficit, two.waiting, two.deficit], [false, 0, false, 0]);
  one.frames = 1;
  assert.equal(next(scheduler), undefined, 'nobody was told');
  scheduler.wake(one);
  assert.equal(scheduler.ready('bulk'), true);
  assert.deepEqual(run(scheduler, Number.POSITIVE_INFINITY), [1000]);
});

test('a stream that lost its turn while it waited is passed over', () => {
  const scheduler = new Scheduler();
  const gone = new TestFlow('gone', 'interactive', 10, 5);
  const left = new TestFlow('left', 'interactive', 10, 5);
  scheduler.wake(gone);
  scheduler.wake(left);
  gone.frames = 0;
  run(scheduler, Number.POSITIVE_INFINITY);
  assert.equal(left.sentFrames, 5);
  assert.equal(gone.sentFrames, 0);
  assert.equal(gone.waiting, false);
});

test('waking a stream again and again gives it one place', () => {
  const scheduler = new Scheduler();
  const eager = new TestFlow('eager', 'bulk', 64 * KIB);
  const other = new TestFlow('other', 'bulk', 64 * KIB);
  for (let count = 0; count < 50; count += 1) scheduler.wake(eager);
  scheduler.wake(other);
  run(scheduler, 20 * 64 * KIB);
  assert.ok(Math.abs(eager.sentFrames - other.sentFrames) <= 1, `${eager.sentFrames} to ${other.sentFrames}`);
});

test('clear forgets everything that waits', () => {
  const scheduler = new Scheduler();
  scheduler.pushControl(control(1));
  scheduler.wake(new TestFlow('log', 'bulk', 10));
  scheduler.wake(new TestFlow('terminal', 'interactive', 10));
  scheduler.clear();
  assert.equal(scheduler.ready('bulk'), false);
  assert.equal(scheduler.controlFrames, 0);
  assert.equal(scheduler.controlBytes, 0);
  assert.equal(next(scheduler), undefined);
});

test('a queue of frames is an interactive stream of its own', () => {
  const scheduler = new Scheduler();
  const signals = new FrameQueue();
  scheduler.wake(new TestFlow('log', 'bulk', 64 * KIB));
  signals.push(control(1));
  signals.push(control(2));
  assert.equal(signals.length, 2);
  scheduler.wake(signals);
  assert.deepEqual([next(scheduler)?.head[0], next(scheduler)?.head[0]], [1, 2]);
  assert.equal(signals.ready, false);
  assert.throws(() => signals.next());
});

test('without room only control frames leave', () => {
  const scheduler = new Scheduler();
  const terminal = new TestFlow('terminal', 'interactive', 100);
  scheduler.wake(terminal);
  assert.deepEqual([scheduler.bodyReady, scheduler.ready('control')], [true, false]);
  assert.equal(scheduler.nextBody('control'), undefined);
  scheduler.pushControl(control(1));
  assert.equal(scheduler.ready('control'), true);
  assert.equal(terminal.sentFrames, 0);
});

test('where there is room for interactive frames alone, bulk waits', () => {
  const scheduler = new Scheduler();
  const terminal = new TestFlow('terminal', 'interactive', 100, 3);
  const log = new TestFlow('log', 'bulk', 64 * KIB);
  scheduler.wake(log);
  scheduler.wake(terminal);
  while (scheduler.nextBody('interactive') !== undefined);
  assert.deepEqual([terminal.sentFrames, log.sentFrames], [3, 0]);
  assert.deepEqual([scheduler.ready('interactive'), scheduler.ready('bulk')], [false, true]);
});

test('bulk keeps its tenth even where there is never room for more than interactive frames', () => {
  const scheduler = new Scheduler();
  const terminal = new TestFlow('terminal', 'interactive', 16 * KIB);
  const log = new TestFlow('log', 'bulk', 16 * KIB);
  scheduler.wake(log);
  scheduler.wake(terminal);
  for (let count = 0; count < 1000; count += 1) scheduler.nextBody('interactive');
  assert.ok(log.sentFrames >= 90 && log.sentFrames <= 110, `${log.sentFrames}`);
});

test('with smaller frames flows take turns by smaller ones', () => {
  const scheduler = new Scheduler();
  scheduler.quantum = 4 * KIB;
  const one = new TestFlow('one', 'bulk', 4 * KIB);
  const two = new TestFlow('two', 'bulk', 4 * KIB);
  scheduler.wake(one);
  scheduler.wake(two);
  for (let count = 0; count < 4; count += 1) next(scheduler);
  assert.deepEqual([one.sentFrames, two.sentFrames], [2, 2]);
});
