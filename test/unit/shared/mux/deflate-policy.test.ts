import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DeflateCost, DeflatePolicy, deflateLevel } from '../../../../shared/mux/deflate-policy.ts';

const KIB = 1024;
/** Bytes per second. */
const mbit = (rate: number) => (rate * 1e6) / 8;
const PAYLOAD = 16 * KIB;

/** What a text costs on a common core: 5 ns a byte. */
const CHEAP_MS_PER_BYTE = 5e-6;

interface Tried {
  /** Raw bytes that were tried; 0 for frames that went as they were. */
  raw: number;
  sent: boolean;
}

/** So many frames of one stream whose payloads all pack to `ratio`. */
function run(
  policy: DeflatePolicy,
  cost: DeflateCost,
  { frames, rate, ratio, msPerByte }: { frames: number; rate: number | undefined; ratio: number; msPerByte: number },
): Tried[] {
  return Array.from({ length: frames }, () => {
    const raw = policy.rawBytes(rate, PAYLOAD);
    if (raw === 0 || rate === undefined) return { raw, sent: false };
    cost.note(raw, raw * msPerByte);
    return { raw, sent: policy.judge(raw, Math.ceil(raw * ratio), rate, PAYLOAD) };
  });
}

function fresh() {
  const cost = new DeflateCost();
  return { cost, policy: new DeflatePolicy(cost) };
}

describe('when it pays', () => {
  const cases: {
    what: string;
    rate: number | undefined;
    ratio: number;
    msPerByte?: number;
    /** Of 1000 frames. */
    tries: [least: number, most: number];
    sent: [least: number, most: number];
  }[] = [
    { what: 'text on 2 Mbit/s', rate: mbit(2), ratio: 0.2, tries: [1000, 1000], sent: [1000, 1000] },
    { what: 'text on 20 Mbit/s', rate: mbit(20), ratio: 0.2, tries: [1000, 1000], sent: [1000, 1000] },
    { what: 'text on 90 Mbit/s', rate: mbit(90), ratio: 0.2, tries: [1000, 1000], sent: [1000, 1000] },
    { what: 'text on a fast link', rate: mbit(101), ratio: 0.2, tries: [0, 0], sent: [0, 0] },
    { what: 'text on loopback', rate: 1.5e9, ratio: 0.2, tries: [0, 0], sent: [0, 0] },
    { what: 'text on a link of unknown rate', rate: undefined, ratio: 0.2, tries: [0, 0], sent: [0, 0] },
    { what: 'packed bytes on 2 Mbit/s', rate: mbit(2), ratio: 1.001, tries: [10, 25], sent: [0, 0] },
    { what: 'bytes that gain too little', rate: mbit(2), ratio: 0.91, tries: [10, 25], sent: [0, 0] },
    { what: 'bytes that gain just enough', rate: mbit(2), ratio: 0.89, tries: [1000, 1000], sent: [1000, 1000] },
    // 80 ns a byte on the wire, of which text saves 64.
    {
      what: 'text that costs less',
      rate: mbit(100),
      ratio: 0.2,
      msPerByte: 60e-6,
      tries: [1000, 1000],
      sent: [1000, 1000],
    },
    { what: 'text that costs more', rate: mbit(100), ratio: 0.2, msPerByte: 70e-6, tries: [10, 25], sent: [10, 25] },
  ];
  for (const { what, rate, ratio, msPerByte = CHEAP_MS_PER_BYTE, tries, sent } of cases) {
    test(what, () => {
      const { cost, policy } = fresh();
      const frames = run(policy, cost, { frames: 1000, rate, ratio, msPerByte });
      const tried = frames.filter(({ raw }) => raw > 0).length;
      const gone = frames.filter((frame) => frame.sent).length;
      assert.ok(tried >= tries[0] && tried <= tries[1], `${tried} tries`);
      assert.ok(gone >= sent[0] && gone <= sent[1], `${gone} packed frames`);
    });
  }
});

test('what does not pay is tried again after 2, 4, … and at most 64 frames', () => {
  const { cost, policy } = fresh();
  const frames = run(policy, cost, { frames: 250, rate: mbit(2), ratio: 1, msPerByte: CHEAP_MS_PER_BYTE });
  const at = frames.flatMap(({ raw }, index) => (raw > 0 ? [index] : []));
  assert.deepEqual(
    at.map((index, n) => index - (at[n - 1] ?? -1) - 1),
    [0, 2, 4, 8, 16, 32, 64, 64],
  );
});

test('a stream whose bytes become text again is packed from the next try on', () => {
  const { cost, policy } = fresh();
  const common = { rate: mbit(2), msPerByte: CHEAP_MS_PER_BYTE };
  run(policy, cost, { ...common, frames: 500, ratio: 1 });
  const frames = run(policy, cost, { ...common, frames: 100, ratio: 0.2 });
  const first = frames.findIndex(({ raw }) => raw > 0);
  assert.ok(first <= 64, `the first try was frame ${first}`);
  assert.ok(frames.slice(first).every((frame) => frame.sent));
});

test('a compressor that was too slow is tried again, and used when it is not any more', () => {
  const { cost, policy } = fresh();
  const common = { rate: mbit(50), ratio: 0.2, frames: 1000 };
  run(policy, cost, { ...common, msPerByte: 1e-3 });
  const frames = run(policy, cost, { ...common, frames: 5000, msPerByte: CHEAP_MS_PER_BYTE });
  assert.ok(frames.slice(-1000).every((frame) => frame.sent));
});

test('one pause in a measurement, as of a garbage collector, changes nothing', () => {
  const { cost, policy } = fresh();
  const common = { rate: mbit(20), ratio: 0.2, msPerByte: CHEAP_MS_PER_BYTE };
  run(policy, cost, { ...common, frames: 20 });
  run(policy, cost, { ...common, frames: 1, msPerByte: 1 });
  assert.ok(run(policy, cost, { ...common, frames: 20 }).every((frame) => frame.sent));
});

test('where the session knows that it costs too much, a new stream waits before it tries', () => {
  const { cost } = fresh();
  cost.note(1000, 1);
  const policy = new DeflatePolicy(cost);
  assert.deepEqual(
    Array.from({ length: 4 }, () => policy.rawBytes(mbit(20), PAYLOAD) > 0),
    [false, false, false, true],
  );
});

test('a frame takes as much as will fill it, and no more than a chunk of 64 KiB', () => {
  const { cost, policy } = fresh();
  const sizes = [0.5, 0.2, 0.1, 0.8].map((ratio) => {
    const raw = policy.rawBytes(mbit(10), PAYLOAD);
    cost.note(raw, 0);
    policy.judge(raw, raw * ratio, mbit(10), PAYLOAD);
    return raw;
  });
  assert.deepEqual(sizes, [PAYLOAD, Math.floor((0.8 * PAYLOAD) / 0.5), 64 * KIB, 64 * KIB]);
});

test('a packed frame that came out too large leaves as it is, and the next one takes less', () => {
  const { cost, policy } = fresh();
  const rate = mbit(2);
  const payload = 4 * KIB;
  const first = policy.rawBytes(rate, payload);
  cost.note(first, 0);
  assert.equal(policy.judge(first, first / 50, rate, payload), true);
  const second = policy.rawBytes(rate, payload);
  assert.equal(second, 64 * KIB);
  assert.equal(policy.judge(second, second / 2, rate, payload), false);
  const third = policy.rawBytes(rate, payload);
  assert.equal(third, Math.floor((0.8 * payload) / 0.5), 'at once: it gains, so there is no pause');
  assert.equal(policy.judge(third, third / 2, rate, payload), true);
});

test('slow links get the denser level', () => {
  assert.ok(deflateLevel(mbit(2)) > deflateLevel(mbit(50)));
});
