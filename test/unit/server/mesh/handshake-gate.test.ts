import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { HandshakeGate } from '../../../../server/mesh/handshake-gate.ts';

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

test('an address beyond its share is cut off, another one gets in', () => {
  const gate = new HandshakeGate({ total: 10, perAddress: 2 });
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

test('all addresses together stay below the total', () => {
  const gate = new HandshakeGate({ total: 2, perAddress: 2 });
  assert.equal(gate.enter(socket('192.0.2.1', 1).socket), true);
  assert.equal(gate.enter(socket('192.0.2.2', 1).socket), true);
  assert.equal(gate.enter(socket('192.0.2.3', 1).socket), false);
});

test('a place is free again when the handshake is done or the connection is gone, once', () => {
  const gate = new HandshakeGate({ total: 10, perAddress: 1 });
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
