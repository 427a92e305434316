import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Priority } from '../../../../shared/messages/kind.ts';
import { InFlight } from '../../../../shared/mux/in-flight.ts';
import type { Flow, OutFrame } from '../../../../shared/mux/scheduler.ts';
import { DEFAULT_LIMITS, type SessionLimits } from '../../../../shared/mux/session-limits.ts';
import type { Transport, TransportEnd } from '../../../../shared/mux/transport.ts';
import { Writer } from '../../../../shared/mux/writer.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { settle } from '../../../support/mux.ts';

/** A socket that says what was written to it, in which batch, and is full when it is told to be. */
class FakeTransport implements Transport {
  readonly batches: number[][] = [];
  open = true;
  bufferedBytes = 0;
  readonly closed = new Promise<TransportEnd>(() => undefined);
  #corked = 0;

  get sent(): number[] {
    return this.batches.flat();
  }

  attach(): void {
    // The test is the session.
  }

  send(head: Uint8Array): boolean {
    assert.ok(this.#corked === 1, 'frames are written together');
    this.batches.at(-1)?.push(head[0] ?? -1);
    return this.open;
  }

  cork(): void {
    this.#corked += 1;
    this.batches.push([]);
  }

  uncork(): void {
    this.#corked -= 1;
    if (this.batches.at(-1)?.length === 0) this.batches.pop();
  }

  setMaxMessageBytes(): void {
    // Nothing comes in.
  }

  close(): void {
    // Nothing to close.
  }

  destroy(): void {
    // Nothing to close.
  }
}

class TestFlow implements Flow {
  readonly priority: Priority;
  deficit = 0;
  waiting = false;
  frames: number;
  readonly mark: number;

  constructor(mark: number, frames: number, priority: Priority = 'bulk') {
    this.mark = mark;
    this.frames = frames;
    this.priority = priority;
  }

  get ready(): boolean {
    return this.frames > 0;
  }

  next(): OutFrame {
    this.frames -= 1;
    return { head: Uint8Array.of(this.mark, 0, 0, 0) };
  }
}

function make(limits: Partial<SessionLimits> = {}) {
  const transport = new FakeTransport();
  const clock = new FakeClock();
  const overflows = { count: 0 };
  const inFlight = new InFlight();
  const acks: OutFrame[] = [];
  const writer = new Writer(transport, {
    clock,
    limits: { ...DEFAULT_LIMITS, ...limits },
    inFlight,
    nextAck: () => acks.shift(),
    onOverflow: () => {
      overflows.count += 1;
    },
  });
  const control = (mark: number, sent?: () => void) => writer.queueControl({ head: Uint8Array.of(mark), sent });
  return { transport, clock, writer, overflows, control, inFlight, acks };
}

test('the frames of one turn leave in one write', async () => {
  const { transport, control, writer } = make();
  for (const mark of [1, 2, 3]) control(mark);
  assert.deepEqual(transport.batches, [], 'not before the turn is over');
  await settle(1);
  assert.deepEqual(transport.batches, [[1, 2, 3]]);
  assert.equal(writer.frames, 3);
  assert.equal(writer.bytes, 3);
});

test('a credit waits for what else comes, and leaves with it', async () => {
  const { transport, control, writer } = make();
  writer.queueCredit({ head: Uint8Array.of(7) });
  control(1);
  await settle(2);
  assert.deepEqual(transport.sent, [7, 1]);
  writer.queueCredit({ head: Uint8Array.of(8) });
  await settle(2);
  assert.deepEqual(transport.sent, [7, 1, 8]);
});

test('a full transport takes nothing until it has drained', async () => {
  const { transport, clock, control, writer } = make();
  transport.open = false;
  const flow = new TestFlow(9, 5);
  writer.wake(flow);
  await settle(2);
  assert.deepEqual(transport.sent, [9], 'the frame that filled it was the last');
  control(1);
  writer.queueCredit({ head: Uint8Array.of(2) });
  await settle(2);
  assert.deepEqual(transport.sent, [9]);
  clock.advance(250);
  assert.equal(writer.blockedMs, 250);
  transport.open = true;
  writer.drained();
  await settle(2);
  assert.deepEqual(transport.sent, [9, 1, 2, 9, 9, 9, 9]);
  clock.advance(100);
  assert.equal(writer.blockedMs, 250);
});

test('a drain that nobody waited for changes nothing', () => {
  const { transport, writer } = make();
  writer.drained();
  assert.deepEqual(transport.batches, []);
  assert.equal(writer.blockedMs, 0);
});

test('one session does not keep the event loop to itself', async () => {
  const { transport, writer } = make();
  writer.wake(new TestFlow(9, 1000));
  let turns = 0;
  while (transport.sent.length < 1000 && turns < 1000) {
    await settle(1);
    turns += 1;
  }
  assert.equal(transport.sent.length, 1000);
  assert.ok(Math.max(...transport.batches.map((batch) => batch.length)) <= 64);
});

test('whoever waits for a frame hears once it was written', async () => {
  const { transport, control } = make();
  const heard: number[] = [];
  control(1, () => heard.push(transport.sent.length));
  control(2, () => heard.push(transport.sent.length));
  assert.deepEqual(heard, []);
  await settle(1);
  assert.deepEqual(heard, [1, 2]);
});

test('a frame that is queued while frames are written leaves too', async () => {
  const { transport, control } = make();
  control(1, () => control(2, () => control(3)));
  await settle(2);
  assert.deepEqual(transport.sent, [1, 2, 3]);
});

for (const [what, limits] of [
  ['frames', { queuedControlFrames: 10 }],
  ['bytes', { queuedControlBytes: 10 }],
] as const) {
  test(`a peer that does not read may make so many control ${what} wait`, async () => {
    const { transport, control, writer, overflows } = make(limits);
    transport.open = false;
    writer.wake(new TestFlow(9, 1));
    await settle(1);
    for (let mark = 0; mark < 10; mark += 1) control(mark);
    assert.equal(overflows.count, 0);
    control(10);
    assert.equal(overflows.count, 1);
    assert.ok(writer.controlBytes <= 10);
  });
}

test('half of the control queue is kept for the session itself', () => {
  const { control, writer } = make({ queuedControlFrames: 10 });
  for (let mark = 0; mark < 5; mark += 1) {
    assert.equal(writer.hasControlRoom(0), true);
    control(mark);
  }
  assert.equal(writer.hasControlRoom(0), false);
  const bytes = make({ queuedControlBytes: 100 });
  assert.equal(bytes.writer.hasControlRoom(49), true);
  assert.equal(bytes.writer.hasControlRoom(50), false);
});

test('the last word goes out although the transport is full, and nothing else', async () => {
  const { transport, control, writer } = make();
  transport.open = false;
  writer.wake(new TestFlow(9, 3));
  await settle(1);
  control(1);
  const written: number[] = [];
  transport.send = (head) => written.push(head[0] ?? -1) > 100;
  writer.sendLast(Uint8Array.of(5));
  writer.flushControl();
  writer.stop();
  writer.drained();
  control(2);
  await settle(2);
  assert.deepEqual(written, [5]);
});

test('flushing sends what control frames wait although the transport is full', async () => {
  const { transport, clock, control, writer } = make();
  transport.open = false;
  writer.wake(new TestFlow(9, 3));
  await settle(1);
  control(1);
  control(2);
  const written: number[] = [];
  transport.send = (head) => written.push(head[0] ?? -1) > 100;
  writer.flushControl();
  assert.deepEqual(written, [1, 2]);
  clock.advance(40);
  writer.stop();
  clock.advance(40);
  assert.equal(writer.blockedMs, 40);
});

/** A flow of bulk frames of 16 KiB. */
function bulkFlow(frames: number): TestFlow {
  const flow = new TestFlow(9, frames);
  flow.next = () => {
    flow.frames -= 1;
    return { head: Uint8Array.of(9), body: new Uint8Array(16 * 1024 - 1) };
  };
  return flow;
}

test('bulk beyond what may be in flight waits for acks; a keystroke and control do not', async () => {
  const { transport, clock, writer, inFlight, control } = make();
  writer.wake(bulkFlow(100));
  await settle(3);
  const first = transport.sent.length;
  assert.equal(first, 4, 'what may be in flight before anything is known is 64 KiB');
  writer.wake(new TestFlow(5, 1, 'interactive'));
  control(1);
  await settle(3);
  assert.deepEqual(transport.sent.slice(first), [1, 5]);
  clock.advance(40);
  inFlight.acked(32 * 1024, 1, 40);
  writer.acknowledged();
  clock.advance(20);
  await settle(3);
  assert.ok(transport.sent.length > first + 2, 'an ack makes room');
  assert.deepEqual(new Set(transport.sent.slice(first + 2)), new Set([9]));
});

test('on a measured link bulk leaves at its pace', async () => {
  const { transport, clock, writer, inFlight } = make();
  writer.wake(bulkFlow(1000));
  await settle(3);
  // A link of 100 ms that delivers a frame each 5 ms, whose acks are held up at last.
  const sent: number[] = [];
  let acked = 0;
  for (let at = 0; at < 2_000; at += 5) {
    sent.push(writer.bytes);
    clock.advance(5);
    await settle(2);
    const arrived = Math.min(sent[sent.length - 20] ?? 0, acked + 16 * 1024);
    if (at >= 1_900 || arrived <= acked) continue;
    inFlight.acked(arrived, clock.monotonic() - 50, clock.monotonic());
    acked = arrived;
    writer.acknowledged();
    await settle(2);
  }
  const before = transport.sent.length;
  // They come at once: without a pace, as much would leave at once.
  inFlight.acked(sent[sent.length - 20] ?? 0, clock.monotonic() - 50, clock.monotonic());
  writer.acknowledged();
  await settle(3);
  const burst = transport.sent.length - before;
  assert.ok(burst <= 3, `${burst} frames left at once`);
  assert.ok(clock.pendingTimers > 0, 'nobody wakes the rest');
  clock.advance(20);
  await settle(3);
  assert.ok(transport.sent.length > before + burst);
  writer.stop();
  assert.equal(clock.pendingTimers, 0);
});

test('an ack leaves with the credit of the same turn', async () => {
  const { transport, writer, acks } = make();
  acks.push({ head: Uint8Array.of(3) });
  writer.queueCredit({ head: Uint8Array.of(7) });
  writer.scheduleAck();
  await settle(2);
  assert.deepEqual(transport.batches, [[7, 3]]);
});
