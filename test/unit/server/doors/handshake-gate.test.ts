import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { HandshakeGate } from '../../../../server/doors/handshake-gate.ts';
import type { HandshakeLimits } from '../../../../server/doors/limits.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

function socket(remoteAddress: string, remotePort: number) {
  let destroyed = false;
  const fake = Object.assign(new EventEmitter(), {
    remoteAddress,
    remotePort,
    destroy() {
      destroyed = true;
      fake.emit('close');
    },
  });
  return { socket: fake as unknown as Socket, isDestroyed: () => destroyed };
}

/** A gate, and the ports of the connections it let through. */
function gateOf(given: Partial<HandshakeLimits>) {
  const begun: (number | undefined)[] = [];
  const clock = new FakeClock();
  const places = { total: 10, perAddress: 10, atOnce: 10, atOnceOfAddress: 10 };
  const attempts = { unfinished: 1000, forgivenPerSecond: 1, remembered: 100 };
  const limits = { ...places, ...attempts, slowMs: 1000, overdueMs: 2000, waitMs: 5000, ...given };
  const gate = new HandshakeGate({ begin: ({ remotePort }) => begun.push(remotePort), clock, limits });
  return { gate, begun, clock };
}

const at = (remotePort: number) => ({ remoteAddress: '192.0.2.1', remotePort });

test('an address beyond its share is cut off, another one gets in', () => {
  const { gate } = gateOf({ perAddress: 2 });
  const flood = [1, 2, 3].map((port) => socket('192.0.2.1', port));
  assert.deepEqual(
    flood.map((one) => gate.enter(one.socket)),
    [true, true, false],
  );
  assert.deepEqual(
    flood.map((one) => one.isDestroyed()),
    [false, false, true],
  );
  assert.equal(gate.enter(socket('192.0.2.2', 1).socket), true);
  assert.equal(gate.pending, 3);
});

test('all addresses together stay below the total, begun or not', () => {
  const { gate } = gateOf({ total: 2, atOnce: 1 });
  assert.equal(gate.enter(socket('192.0.2.1', 1).socket), true);
  assert.equal(gate.enter(socket('192.0.2.2', 1).socket), true);
  assert.equal(gate.enter(socket('192.0.2.3', 1).socket), false);
});

test('a place is free again when the handshake is done or the connection is gone, once', () => {
  const { gate } = gateOf({ perAddress: 1 });
  const first = socket('192.0.2.1', 1);
  gate.enter(first.socket);
  gate.leave({ remoteAddress: '192.0.2.1', remotePort: 1 });
  const second = socket('192.0.2.1', 2);
  assert.equal(gate.enter(second.socket), true);
  first.socket.emit('close');
  assert.equal(gate.pending, 1);
  assert.equal(gate.enter(socket('192.0.2.1', 3).socket), false);
  second.socket.emit('close');
  assert.equal(gate.pending, 0);
  assert.equal(gate.enter(socket('192.0.2.1', 3).socket), true);
});

test('a burst is served one after the other, in order', () => {
  const { gate, begun } = gateOf({ atOnce: 2 });
  for (let port = 1; port <= 4; port++) gate.enter(socket('192.0.2.1', port).socket);
  assert.deepEqual(begun, [1, 2]);
  gate.leave(at(2));
  assert.deepEqual(begun, [1, 2, 3]);
  gate.leave(at(2));
  assert.deepEqual(begun, [1, 2, 3], 'a place is free once');
  gate.leave(at(1));
  assert.deepEqual(begun, [1, 2, 3, 4]);
});

test('silent peers keep nobody waiting for long', () => {
  const { gate, begun, clock } = gateOf({ atOnce: 2 });
  for (let port = 1; port <= 5; port++) gate.enter(socket('192.0.2.1', port).socket);
  clock.advance(1000);
  clock.advance(1);
  assert.deepEqual(begun, [1, 2]);
  clock.advance(1000);
  assert.deepEqual(begun, [1, 2, 3, 4]);
  assert.equal(gate.pending, 5, 'they still count against the total');
});

test('who has left or waited too long takes no place of those behind', () => {
  const { gate, begun, clock } = gateOf({ atOnce: 1, slowMs: 60_000 });
  gate.enter(socket('192.0.2.1', 1).socket);
  const late = socket('192.0.2.1', 2);
  gate.enter(late.socket);
  clock.advance(5001);
  const gone = socket('192.0.2.1', 3);
  gate.enter(gone.socket);
  gone.socket.emit('close');
  gate.enter(socket('192.0.2.1', 4).socket);
  gate.leave(at(1));
  assert.deepEqual(begun, [1, 4]);
  assert.equal(late.isDestroyed(), true);
  assert.equal(gate.pending, 1);
});

test('closing destroys what waits and what shakes hands', () => {
  const { gate, begun } = gateOf({ atOnce: 1 });
  const all = [1, 2].map((port) => socket('192.0.2.1', port));
  for (const one of all) gate.enter(one.socket);
  gate.close();
  assert.deepEqual(
    all.map((one) => one.isDestroyed()),
    [true, true],
  );
  assert.equal(gate.pending, 0);
  assert.deepEqual(begun, [1]);
});

test('a port that comes again before its first connection was seen to end takes its place, and no other', () => {
  const { gate, begun } = gateOf({ atOnce: 1 });
  gate.enter(socket('192.0.2.1', 1).socket);
  const first = socket('192.0.2.1', 2);
  const again = socket('192.0.2.1', 2);
  gate.enter(first.socket);
  assert.equal(gate.enter(again.socket), true);
  assert.equal(first.isDestroyed(), true);
  assert.equal(gate.pending, 2);
  first.socket.emit('close');
  assert.equal(gate.pending, 2, 'the end of the first is not that of the second');
  gate.leave(at(1));
  assert.deepEqual(begun, [1, 2]);
  again.socket.emit('close');
  assert.equal(gate.pending, 0);
});

test('addresses take turns, however many connections one of them has', () => {
  const { gate, begun } = gateOf({ atOnce: 1 });
  for (let port = 1; port <= 5; port++) gate.enter(socket('192.0.2.1', port).socket);
  gate.enter(socket('192.0.2.2', 100).socket);
  gate.leave(at(1));
  gate.leave(at(2));
  assert.deepEqual(begun, [1, 2, 100]);
});

test('when all places are taken, the address with the most gives way, its oldest first', () => {
  const { gate } = gateOf({ total: 4, atOnce: 1 });
  const flood = [1, 2, 3].map((port) => socket('192.0.2.1', port));
  for (const one of flood) gate.enter(one.socket);
  assert.equal(gate.enter(socket('192.0.2.2', 1).socket), true);
  assert.equal(gate.enter(socket('192.0.2.3', 1).socket), true);
  assert.deepEqual(
    flood.map((one) => one.isDestroyed()),
    [true, false, false],
  );
  assert.equal(gate.pending, 4);
  assert.equal(gate.enter(socket('192.0.2.1', 4).socket), false, 'but not for itself');
});

test('a flood from one address leaves places for the others', () => {
  const { gate, begun } = gateOf({ atOnce: 4, atOnceOfAddress: 3 });
  for (let port = 1; port <= 6; port++) gate.enter(socket('192.0.2.1', port).socket);
  assert.deepEqual(begun, [1, 2, 3]);
  gate.enter(socket('192.0.2.2', 100).socket);
  assert.deepEqual(begun, [1, 2, 3, 100]);
  gate.leave(at(2));
  assert.deepEqual(begun, [1, 2, 3, 100, 4]);
});

test('a handshake that is done keeps nobody waiting, and its connection still counts', () => {
  const { gate, begun } = gateOf({ perAddress: 2, atOnce: 1 });
  for (let port = 1; port <= 2; port++) gate.enter(socket('192.0.2.1', port).socket);
  gate.shaken(at(1));
  gate.shaken(at(1));
  assert.deepEqual(begun, [1, 2]);
  assert.equal(gate.enter(socket('192.0.2.1', 3).socket), false);
});

test('a connection counts for where a balancer says that it comes from', () => {
  const { gate } = gateOf({ perAddress: 1 });
  assert.equal(gate.enter(socket('192.0.2.1', 1).socket, '198.51.100.1'), true);
  assert.equal(gate.enter(socket('192.0.2.1', 2).socket, '198.51.100.2'), true);
  assert.equal(gate.enter(socket('192.0.2.1', 3).socket, '198.51.100.1'), false);
});

test('a million addresses that come and go leave nothing behind', () => {
  const { gate } = gateOf({ total: 64, perAddress: 4, atOnce: 8 });
  // Each connection is in at most six maps, one of them by its address; attempts are remembered beside.
  const bound = 6 * 64 + 64 + 100;
  for (let n = 0; n < 1_000_000; n++) {
    const fake = socket(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, n & 65_535);
    gate.enter(fake.socket);
    if (n % 3 === 0) fake.socket.destroy();
    if (n % 997 === 0 && gate.remembered > bound) assert.fail(`${gate.remembered} entries are remembered`);
  }
  assert.equal(gate.pending, 64);
  gate.close();
  assert.ok(gate.remembered <= 100, 'the last attempts alone');
});

test('an address whose handshakes come to nothing is served one by one; finished ones do not count', () => {
  const { gate, begun, clock } = gateOf({ unfinished: 4, atOnce: 3 });
  for (let port = 1; port <= 6; port++) {
    gate.enter(socket('192.0.2.1', port).socket);
    gate.leave(at(port));
  }
  assert.deepEqual(begun.splice(0), [1, 2, 3, 4, 5, 6]);
  const silent = [11, 12, 13, 14, 15, 16, 17].map((port) => socket('192.0.2.1', port));
  for (const one of silent) gate.enter(one.socket);
  assert.deepEqual(begun, [11, 12, 13]);
  for (const one of silent.slice(0, 3)) one.socket.destroy();
  assert.deepEqual(begun, [11, 12, 13, 14], 'one more than may come to nothing, and then one after the other');
  gate.enter(socket('192.0.2.2', 100).socket);
  assert.deepEqual(begun, [11, 12, 13, 14, 100], 'others are served as before');
  clock.advance(1001);
  clock.advance(1000);
  assert.ok(begun.length >= 6 && begun.length <= 8, `${begun}`);
});

test('many addresses that each hold one silent connection keep nobody out for long: the oldest gives way', () => {
  const { gate, begun, clock } = gateOf({ total: 4, atOnce: 3, overdueMs: 2000 });
  const silent = [1, 2, 3, 4].map((n) => socket(`192.0.2.${n}`, n));
  for (const one of silent) gate.enter(one.socket);
  assert.deepEqual(begun, [1, 2, 3]);
  clock.advance(1999);
  assert.equal(gate.enter(socket('192.0.2.5', 5).socket), false, 'they may still be on their way');
  clock.advance(1);
  assert.equal(gate.enter(socket('192.0.2.6', 6).socket), true);
  assert.deepEqual(
    silent.map((one) => one.isDestroyed()),
    [true, false, false, false],
  );
  assert.equal(gate.pending, 4);
  gate.shaken({ remoteAddress: '192.0.2.2', remotePort: 2 });
  assert.equal(gate.enter(socket('192.0.2.7', 7).socket), true, 'a handshake that is done still holds a place');
  assert.equal(silent[1]?.isDestroyed(), true);
  gate.close();
});
