import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinkSchedule, PACKET_BYTES, QUEUE_SLACK_BYTES } from '../../support/link-emulator-schedule.ts';

const MBIT = 125_000;

/** Keeps the queue full and looks at it every `everyMs`. @returns the bytes that arrived from one time to another */
function saturate(link: LinkSchedule, from: number, to: number, everyMs: number): number {
  let bytes = 0;
  for (let now = from; now <= to; now += everyMs) {
    for (const data of link.take(now)) bytes += data.byteLength;
    link.offer(now, Buffer.alloc(link.room(now)));
  }
  return bytes;
}

function assertNear(actual: number, expected: number, tolerance: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual}, not ${expected} ± ${tolerance}`);
}

/** Bytes that say their place in the flow. */
function counted(from: number, bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, index) => (from + index) % 251));
}

for (const { mbit, delayMs, everyMs } of [
  { mbit: 2, delayMs: 150, everyMs: 1 },
  { mbit: 20, delayMs: 20, everyMs: 1.37 },
  { mbit: 100, delayMs: 50, everyMs: 4 },
]) {
  test(`${mbit} Mbit/s pass ${mbit} Mbit/s, looked at every ${everyMs} ms`, () => {
    const link = new LinkSchedule({ rate: mbit * MBIT, delayMs });
    saturate(link, 0, 1_000, everyMs);
    const bytes = saturate(link, 1_000 + everyMs, 3_000, everyMs);
    assertNear(bytes, mbit * MBIT * 2, mbit * MBIT * 2 * 0.005 + PACKET_BYTES, 'bytes in 2 s');
  });
}

test('a lone packet takes the delay and its own time on the wire', () => {
  const link = new LinkSchedule({ rate: 100_000, delayMs: 30 });
  link.offer(5, Buffer.alloc(1_000));
  assert.equal(link.nextAt, 45);
  assert.deepEqual(link.take(44.9), []);
  assert.equal(link.take(45)[0]?.byteLength, 1_000);
  assert.equal(link.nextAt, undefined);
  assert.equal(link.heldBytes, 0);
});

test('many bytes arrive packet by packet, and who looks late misses nothing', () => {
  const link = new LinkSchedule({ rate: 1_500_000, delayMs: 10 });
  link.offer(0, Buffer.alloc(10 * PACKET_BYTES));
  assert.equal(link.take(13).length, 3);
  assert.equal(link.take(100).length, 7);
  link.offer(100, Buffer.alloc(PACKET_BYTES));
  assert.equal(link.nextAt, 111, 'the wire was free again long ago, and no time is gained from that');
});

test('the queue takes one one-way bandwidth × delay and 64 KiB, and not a byte more', () => {
  const link = new LinkSchedule({ rate: 20 * MBIT, delayMs: 20 });
  const limit = QUEUE_SLACK_BYTES + 20 * MBIT * 0.02;
  assert.equal(link.room(0), limit);
  link.offer(0, Buffer.alloc(limit));
  // The first packet is on the wire already.
  assert.equal(link.room(0), PACKET_BYTES);
  assert.throws(() => link.offer(0, Buffer.alloc(PACKET_BYTES + 1)), RangeError);
  link.offer(0, Buffer.alloc(PACKET_BYTES));
  assert.equal(link.room(0), 0);
  assert.equal(link.room(10), 20 * MBIT * 0.01 + (PACKET_BYTES - ((20 * MBIT * 0.01) % PACKET_BYTES)) - PACKET_BYTES);
  saturate(link, 10, 2_000, 1);
  assert.ok(link.queuedBytes <= limit);
  // One packet leaves, and one arrives, between two looks.
  assert.ok(link.heldBytes <= limit + 20 * MBIT * 0.02 + 2 * PACKET_BYTES);
});

test('a link without a limit of its rate holds a bounded number of bytes', () => {
  const link = new LinkSchedule({ rate: Number.POSITIVE_INFINITY, delayMs: 50 });
  const room = link.room(0);
  assert.equal(room, 64 * 1024 * 1024);
  link.offer(0, Buffer.alloc(room));
  assert.equal(link.room(0), 0);
  assert.equal(link.take(49).length, 0);
  assert.equal(Buffer.concat(link.take(50)).byteLength, room);
});

test('bytes come in order while the link changes all the time', () => {
  const link = new LinkSchedule({ rate: 1_000_000, delayMs: 100 });
  const got: Buffer[] = [];
  let sent = 0;
  for (let now = 0; now < 3_000; now += 7) {
    // From 0.1 to 2 MB/s and from 0 to 100 ms, out of step with each other.
    if (now % 5 === 0) link.set(now, { rate: 100_000 + ((now * 37) % 1_900_000) });
    if (now % 3 === 0) link.set(now, { delayMs: (now * 13) % 100 });
    const bytes = Math.min(link.room(now), now % 4_000);
    link.offer(now, counted(sent, bytes));
    sent += bytes;
    got.push(...link.take(now));
  }
  got.push(...link.take(60_000));
  assert.ok(sent > 300_000);
  assert.ok(Buffer.concat(got).equals(counted(0, sent)));
});

test('a new rate holds for what waits, a new delay for what leaves from then on', () => {
  const link = new LinkSchedule({ rate: 150_000, delayMs: 100 });
  link.offer(0, Buffer.alloc(4 * PACKET_BYTES)); // 10 ms each
  link.set(15, { rate: 1_500_000, delayMs: 200 }); // 1 ms each; the second is on the wire until 20
  assert.equal(link.take(119).length, 1);
  assert.equal(link.take(120).length, 1);
  assert.equal(link.take(220).length, 0);
  assert.equal(link.take(221).length, 1);
  assert.equal(link.take(222).length, 1);
});

test('a shorter delay lets nothing overtake', () => {
  const link = new LinkSchedule({ rate: 1_500_000, delayMs: 100 });
  link.offer(0, counted(0, PACKET_BYTES));
  link.set(10, { delayMs: 0 });
  link.offer(10, counted(PACKET_BYTES, PACKET_BYTES));
  assert.equal(link.take(100).length, 0);
  assert.ok(Buffer.concat(link.take(101)).equals(counted(0, 2 * PACKET_BYTES)));
});

test('a frozen link moves nothing, takes what its queue holds, and goes on where it stood', () => {
  const link = new LinkSchedule({ rate: 150_000, delayMs: 20 });
  link.offer(0, Buffer.alloc(2 * PACKET_BYTES)); // due at 30 and 40
  link.freeze(25);
  link.freeze(26);
  assert.equal(link.nextAt, undefined);
  assert.equal(link.take(5_000).length, 0);
  const room = link.room(5_000);
  link.offer(5_000, Buffer.alloc(room));
  assert.equal(link.room(9_000), 0);
  link.thaw(10_025);
  link.thaw(10_026);
  assert.equal(link.take(10_029).length, 0);
  assert.equal(link.take(10_030).length, 1);
  assert.equal(link.take(10_040).length, 1);
  assert.equal(link.take(10_054).length, 0, 'what came while it was frozen left after the thaw');
  assert.equal(link.take(10_055).length, 1);
});

test('a link that cannot be is refused', () => {
  for (const settings of [
    { rate: 0, delayMs: 0 },
    { rate: Number.NaN, delayMs: 0 },
    { rate: 1, delayMs: -1 },
    { rate: 1, delayMs: Number.POSITIVE_INFINITY },
  ]) {
    assert.throws(() => new LinkSchedule(settings), RangeError);
    assert.throws(() => new LinkSchedule({ rate: 1, delayMs: 1 }).set(0, settings), RangeError);
  }
});
