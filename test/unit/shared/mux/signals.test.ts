import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFairleadError } from '../../../../shared/errors.ts';
import { MAX_WAITING_SIGNALS, SignalGate, SignalPacer } from '../../../../shared/mux/signals.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;

function pacer(perSecond = 10) {
  const clock = new FakeClock();
  const sent: number[] = [];
  const pace = new SignalPacer(clock, perSecond, (payload) => sent.push(payload[0] ?? -1));
  return { clock, sent, pace, submit: (mark: number) => pace.submit(Uint8Array.of(mark)) };
}

test('signals within the rate leave at once, the rest later and in order', () => {
  const { clock, sent, submit } = pacer();
  for (let mark = 0; mark < 15; mark += 1) submit(mark);
  assert.equal(sent.length, 10);
  clock.advance(100);
  assert.equal(sent.length, 11);
  clock.advance(400);
  assert.deepEqual(sent, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  assert.equal(clock.pendingTimers, 0);
});

test('no second sees more signals than the rate, beyond its first burst', () => {
  const { clock, sent, submit } = pacer();
  for (let step = 0; step < 200; step += 1) {
    const before = sent.length;
    for (let count = 0; count < 3; count += 1) {
      try {
        submit(1);
      } catch (error) {
        assert.ok(code('RATE_LIMITED')(error));
      }
    }
    clock.advance(100);
    if (step > 10) assert.ok(sent.length - before <= 2, `${sent.length - before} in 100 ms`);
  }
  assert.ok(sent.length <= 10 + 200);
  assert.ok(sent.length >= 190);
});

test('a late signal does not overtake one that waits', () => {
  // Three a second: the budget has its next token shortly before the timer, which counts whole milliseconds.
  const { clock, sent, submit } = pacer(3);
  for (let mark = 0; mark < 4; mark += 1) submit(mark);
  clock.advance(333.5);
  submit(4);
  clock.advance(1000);
  assert.deepEqual(sent, [0, 1, 2, 3, 4]);
});

test('too many waiting signals are refused, and nothing is lost of the others', () => {
  const { clock, sent, submit } = pacer();
  for (let mark = 0; mark < 10 + MAX_WAITING_SIGNALS; mark += 1) submit(mark);
  assert.throws(() => submit(99), code('RATE_LIMITED'));
  clock.advance(60_000);
  assert.equal(sent.length, 10 + MAX_WAITING_SIGNALS);
});

test('a closed pacer sends nothing more and leaves no timer', () => {
  const { clock, sent, pace, submit } = pacer();
  for (let mark = 0; mark < 20; mark += 1) submit(mark);
  pace.close();
  assert.equal(clock.pendingTimers, 0);
  clock.advance(60_000);
  assert.equal(sent.length, 10);
});

test('signals wait for a listener, in order', () => {
  const gate = new SignalGate(10, 0);
  gate.receive('a', 0);
  gate.receive('b', 0);
  const heard: unknown[] = [];
  gate.listen((value) => heard.push(value));
  gate.receive('c', 0);
  assert.deepEqual(heard, ['a', 'b', 'c']);
});

test('a later listener takes the place of the first', () => {
  const gate = new SignalGate(10, 0);
  gate.listen(() => assert.fail('the first'));
  const heard: unknown[] = [];
  gate.listen((value) => heard.push(value));
  gate.receive('a', 0);
  assert.deepEqual(heard, ['a']);
});

test('only so many signals wait for a listener', () => {
  const gate = new SignalGate(1000, 0);
  for (let count = 0; count < MAX_WAITING_SIGNALS; count += 1) gate.receive(count, 0);
  assert.throws(() => gate.receive('more', 0), code('OVERLOADED'));
});

test('a peer may send ten seconds of signals at once, then so many a second', () => {
  const gate = new SignalGate(10, 0);
  gate.listen(() => undefined);
  for (let count = 0; count < 100; count += 1) gate.receive(count, 0);
  assert.throws(() => gate.receive('more', 0), code('RATE_LIMITED'));
  for (let count = 0; count < 5; count += 1) gate.receive(count, 500);
  assert.throws(() => gate.receive('more', 500), code('RATE_LIMITED'));
});

test('a sender that paces itself never breaks the limit at the other end', () => {
  const clock = new FakeClock();
  const gate = new SignalGate(50, clock.monotonic());
  gate.listen(() => undefined);
  const pace = new SignalPacer(clock, 50, (payload) => gate.receive(payload, clock.monotonic()));
  for (let step = 0; step < 2000; step += 1) {
    try {
      pace.submit(Uint8Array.of(1));
    } catch (error) {
      assert.ok(code('RATE_LIMITED')(error));
      assert.match(String(error), /50 signals a second/);
    }
    clock.advance(step % 7);
  }
});
