import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { Places } from '../../../../server/doors/places.ts';

function socket(remoteAddress: string, remotePort: number) {
  const fake = Object.assign(new EventEmitter(), {
    remoteAddress,
    remotePort,
    destroyed: false,
    destroy() {
      fake.destroyed = true;
      fake.emit('close');
    },
  });
  return fake as unknown as Socket;
}

test('an address with too many gives up its own, the one that waits for longest first', () => {
  const places = new Places({ total: 10, idleOfAddress: 2, inUseOfOne: 9 });
  const [first, second, third] = [1, 2, 3].map((port) => socket('192.0.2.1', port)) as [Socket, Socket, Socket];
  const other = socket('192.0.2.2', 1);
  for (const one of [other, first, second]) assert.equal(places.take(one), true);
  // It has been used since.
  places.use(first, 'ann')();
  assert.equal(places.take(third), true);
  assert.deepEqual(
    [other, first, second, third].map(({ destroyed }) => destroyed),
    [false, false, true, false],
  );
});

test('when all places are taken, the one that waits for longest gives way; who is in use stays', () => {
  const places = new Places({ total: 3, idleOfAddress: 3, inUseOfOne: 9 });
  const all = [1, 2, 3, 4, 5].map((n) => socket(`192.0.2.${n}`, n));
  const [used, a, b, c, d] = all as [Socket, Socket, Socket, Socket, Socket];
  for (const one of [used, a, b]) places.take(one);
  const done = places.use(used, 'ann');
  const doneToo = places.use(used, 'ann');
  assert.equal(places.take(c), true);
  assert.deepEqual([used.destroyed, a.destroyed, b.destroyed], [false, true, false]);
  places.use(b, 'ann');
  places.use(c, 'ann');
  assert.equal(places.take(d), false, 'all of them are in use');
  assert.equal(d.destroyed, true);
  done();
  done();
  assert.equal(places.take(socket('192.0.2.6', 6)), false, 'another request still uses it');
  doneToo();
  assert.equal(places.take(socket('192.0.2.7', 7)), true);
  assert.equal(used.destroyed, true);
});

test('a port that comes again takes the place of its own former connection, and no other', () => {
  const places = new Places({ total: 2, idleOfAddress: 2, inUseOfOne: 9 });
  const [first, again] = [socket('192.0.2.1', 1), socket('192.0.2.1', 1)];
  places.take(first);
  const done = places.use(first, 'ann');
  assert.equal(places.take(again), true);
  assert.equal(first.destroyed, true);
  done();
  first.emit('close');
  assert.equal(places.taken, 1);
  again.destroy();
  assert.equal(places.remembered, 0);
});

test('of IPv6 a /64 is one address, and whom a balancer names counts', () => {
  const places = new Places({ total: 10, idleOfAddress: 1, inUseOfOne: 9 });
  const [first, second] = [socket('2001:db8::1', 1), socket('2001:db8::2', 2)];
  places.take(first);
  places.take(second);
  assert.deepEqual([first.destroyed, second.destroyed], [true, false]);
  const [third, fourth] = [socket('192.0.2.1', 1), socket('192.0.2.1', 2)];
  places.take(third, '198.51.100.1');
  places.take(fourth, '198.51.100.2');
  assert.equal(third.destroyed, false);
});

test('many addresses that come and go leave nothing behind', () => {
  const places = new Places({ total: 64, idleOfAddress: 4, inUseOfOne: 9 });
  const left: Socket[] = [];
  for (let n = 0; n < 100_000; n++) {
    const one = socket(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, n & 65_535);
    assert.equal(places.take(one), true);
    const done = places.use(one, 'ann');
    if (n % 3 === 0) one.destroy();
    done();
    if (n % 997 === 0) assert.ok(places.remembered <= 4 * 64, `${places.remembered} entries are remembered`);
    left.push(one);
  }
  for (const one of left) if (!one.destroyed) one.destroy();
  assert.equal(places.remembered, 0);
});

test('nobody keeps more places than one may, by answers that are not read for instance', () => {
  const places = new Places({ total: 4, idleOfAddress: 4, inUseOfOne: 2 });
  const hers = [1, 2, 3, 4].map((n) => socket('192.0.2.1', n));
  const ends = hers.map((one) => {
    places.take(one);
    return places.use(one, 'ann');
  });
  assert.equal(places.take(socket('192.0.2.2', 1)), true);
  assert.deepEqual(
    hers.map(({ destroyed }) => destroyed),
    [false, false, true, false],
  );
  // The end of a connection is the end of its use, even if nobody says so.
  hers[0]?.destroy();
  places.use(hers[3] as Socket, 'ann');
  ends[0]?.();
  for (let n = 2; n < 6; n++) assert.equal(places.take(socket('192.0.2.2', n)), true);
  assert.deepEqual(
    hers.map(({ destroyed }) => destroyed),
    [true, false, true, false],
  );
});
