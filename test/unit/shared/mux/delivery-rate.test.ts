import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeliveryRate } from '../../../../shared/mux/delivery-rate.ts';

const KIB = 1024;

/** Sends so many frames of 16 KiB at once. */
function send(rate: DeliveryRate, frames: number, now: number): void {
  for (let frame = 0; frame < frames; frame += 1) rate.sent(16 * KIB, true, now);
}

test('nothing is known before an ack', () => {
  const rate = new DeliveryRate();
  send(rate, 4, 0);
  assert.deepEqual([rate.perMs, rate.limitedAt, rate.inFlight], [0, undefined, 64 * KIB]);
});

test('the rate is what arrived between two acks, over the time between its arrivals', () => {
  const rate = new DeliveryRate();
  send(rate, 2, 0);
  rate.acked(16 * KIB, 1_020, 40);
  send(rate, 1, 40);
  // 16 KiB arrived each 10 ms; the ack comes 500 ms late, which is not the link's rate.
  rate.acked(32 * KIB, 1_030, 50);
  const sample = rate.acked(48 * KIB, 1_040, 590);
  assert.equal(sample?.perMs, (2 * 16 * KIB) / 40, 'its sending took longer than its arrival');
  assert.equal(sample?.trip.roundTripMs, 550);
  assert.equal(sample?.trip.arrivedAt, 1_040);
});

test('acks that come in a bunch do not make the link look faster than what was sent', () => {
  const rate = new DeliveryRate();
  send(rate, 1, 0);
  rate.acked(16 * KIB, 20, 40);
  for (let at = 50; at <= 90; at += 10) send(rate, 1, at);
  // All arrive within a ms of the peer's clock, though they were sent over 40.
  const sample = rate.acked(6 * 16 * KIB, 21, 131);
  assert.ok(sample?.perMs !== undefined && sample.perMs <= (5 * 16 * KIB) / 40, `${sample?.perMs}`);
});

test('an arrival that seems to lie in the past gives no rate beyond that of sending', () => {
  const rate = new DeliveryRate();
  send(rate, 1, 0);
  rate.acked(16 * KIB, 1_000, 40);
  send(rate, 1, 50);
  const sample = rate.acked(32 * KIB, 1_000, 90);
  assert.ok(sample?.perMs !== undefined && Number.isFinite(sample.perMs));
});

test('what took no time says nothing', () => {
  const rate = new DeliveryRate();
  send(rate, 4, 7);
  assert.equal(rate.acked(64 * KIB, 7, 7)?.perMs, undefined);
  assert.deepEqual([rate.perMs, rate.limitedAt], [0, undefined]);
});

test('a sender that ran dry does not lower what is known', () => {
  const rate = new DeliveryRate();
  for (let round = 1; round <= 4; round += 1) {
    send(rate, 4, round * 40);
    rate.acked(round * 64 * KIB, round * 40 + 20, round * 40 + 39);
  }
  const known = rate.perMs;
  assert.ok(known > 0 && rate.limitedAt !== undefined);
  let total = 4 * 64 * KIB;
  for (let round = 1; round <= 50; round += 1) {
    const now = 1_000 + round * 40;
    rate.ranDry();
    rate.sent(2 * KIB, true, now);
    total += 2 * KIB;
    rate.acked(total, now + 20, now + 39);
  }
  assert.equal(rate.perMs, known);
});

test('what is known falls within 80 ms or two rounds once the link is slower', () => {
  const rate = new DeliveryRate();
  let now = 0;
  let total = 0;
  const round = (ms: number) => {
    send(rate, 4, now);
    now += ms;
    total += 64 * KIB;
    rate.acked(total, now - 20, now);
  };
  for (let count = 0; count < 4; count += 1) round(40);
  assert.equal(Math.round(rate.perMs), Math.round((64 * KIB) / 40));
  for (let count = 0; count < 4; count += 1) round(400);
  assert.ok(rate.perMs < (64 * KIB) / 300, `${rate.perMs}`);
});

test('on a short link one bad round changes nothing', () => {
  const rate = new DeliveryRate();
  let now = 0;
  let total = 0;
  const round = (ms: number) => {
    send(rate, 4, now);
    now += ms;
    total += 64 * KIB;
    rate.acked(total, now, now);
  };
  for (let count = 0; count < 20; count += 1) round(0.5);
  const known = rate.perMs;
  for (let count = 0; count < 8; count += 1) round(4);
  assert.equal(rate.perMs, known);
  for (let count = 0; count < 40; count += 1) round(4);
  assert.ok(rate.perMs < known / 4, `${rate.perMs} of ${known}`);
});

test('it can be told to forget larger rates', () => {
  const rate = new DeliveryRate();
  send(rate, 4, 0);
  rate.acked(64 * KIB, 20, 40);
  rate.fallTo(100);
  assert.equal(rate.perMs, 100);
});

test('control frames count, but nothing is measured by them', () => {
  const rate = new DeliveryRate();
  rate.sent(100 * KIB, false, 0);
  assert.equal(rate.inFlight, 100 * KIB);
  assert.equal(rate.acked(100 * KIB, 20, 40), undefined);
  assert.equal(rate.inFlight, 0);
});

test('keystrokes that nobody acknowledges leave few marks behind', () => {
  const rate = new DeliveryRate();
  for (let key = 0; key < 200_000; key += 1) rate.sent(30, true, key);
  // Bounded: the sample is of one of the last marks that were kept.
  const sample = rate.acked(200_000 * 30, 200_020, 200_040);
  assert.ok(sample !== undefined && sample.trip.sentAt > 0);
});

test('what was sent long ago and acknowledged with a later heartbeat is not measured', () => {
  const rate = new DeliveryRate();
  rate.sent(2 * KIB, true, 0);
  for (let beat = 1; beat <= 100; beat += 1) rate.sent(200, false, 15_000 * beat);
  assert.equal(rate.acked(2 * KIB + 100 * 200, 1_500_020, 1_500_040), undefined);
  assert.equal(rate.inFlight, 0);
});
