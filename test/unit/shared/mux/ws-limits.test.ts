/** What a peer may not send to a WebSocket transport, and how much it may send before there is a session. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WebSocket } from 'ws';
import { wsTransport } from '../../../../shared/mux/ws-transport.ts';
import { settle } from '../../../support/mux.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { arrived, attached, BINARY, Heard, wsFrame, wsInMemory } from '../../../support/ws-memory.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

for (const how of ['whole', 'in fragments'] as const) {
  test(`a message beyond the limit is refused, before and after it is raised: ${how}`, async () => {
    for (const limit of [4 * KIB, MIB]) {
      const { client, server } = await wsInMemory();
      const { transport, heard } = attached(server);
      transport.setMaxMessageBytes(4 * KIB);
      if (limit > 4 * KIB) transport.setMaxMessageBytes(limit);
      const send = (bytes: number) => {
        if (how === 'whole') client.send(Buffer.alloc(bytes));
        else {
          client.send(Buffer.alloc(bytes - 1), { fin: false });
          client.send(Buffer.alloc(1), { fin: true });
        }
      };
      send(limit);
      await arrived(heard.messages, 1);
      assert.deepEqual(heard.violations, []);
      send(limit + 1);
      await waitFor('a violation', () => heard.violations.length > 0, { everyMs: 1 });
      assert.equal(heard.violations.length, 1);
      if (how === 'whole') assert.deepEqual(heard.violations, ['FRAME_TOO_LARGE']);
      assert.equal(heard.messages.length, 1);
      transport.destroy();
    }
  });
}

test('a message beyond the limit is refused by its header, before its bytes', async () => {
  const { clientSocket, server } = await wsInMemory();
  const { transport, heard } = attached(server);
  transport.setMaxMessageBytes(4 * KIB);
  clientSocket.write(wsFrame(BINARY, Buffer.alloc(5 * KIB), Buffer.alloc(4)).subarray(0, 20));
  await waitFor('a violation', () => heard.violations.length > 0, { everyMs: 1 });
  transport.destroy();
});

for (const [what, send] of [
  ['text message', (ws: WebSocket) => ws.send('text')],
  ['WebSocket ping', (ws: WebSocket) => ws.ping()],
  ['WebSocket pong', (ws: WebSocket) => ws.pong()],
] as const) {
  test(`a ${what} is a violation`, async () => {
    const { client, server } = await wsInMemory();
    const { transport, heard } = attached(server);
    send(client);
    await waitFor('a violation', () => heard.violations.length > 0, { everyMs: 1 });
    assert.deepEqual(heard.violations, ['PROTOCOL_ERROR']);
    assert.deepEqual(heard.messages, []);
    transport.destroy();
  });
}

for (const [what, bytes] of [
  ['an unmasked frame from a client', wsFrame(BINARY, Buffer.alloc(20))],
  ['reserved bits', wsFrame(BINARY | 0x40, Buffer.alloc(20), Buffer.alloc(4))],
  ['an unknown opcode', wsFrame(0x83, Buffer.alloc(20), Buffer.alloc(4))],
  ['a continuation of nothing', wsFrame(0x80, Buffer.alloc(20), Buffer.alloc(4))],
  ['a length beyond 2^53', Buffer.concat([Buffer.of(BINARY, 0xff), Buffer.alloc(8, 0xff), Buffer.alloc(4)])],
  ['a length of 2^32 with its high half set', Buffer.concat([Buffer.of(BINARY, 0xff, 0, 0, 0, 1), Buffer.alloc(8)])],
] as const) {
  test(`${what} is a violation, and nothing is read`, async () => {
    const { clientSocket, server } = await wsInMemory();
    const { transport, heard } = attached(server);
    clientSocket.write(bytes);
    await waitFor('a violation', () => heard.violations.length > 0, { everyMs: 1 });
    assert.deepEqual(heard.messages, []);
    transport.destroy();
    await within(5_000, 'the end', transport.closed);
  });
}

test('messages that come before the session wait for it in order, up to a limit', async () => {
  const { client, server } = await wsInMemory();
  const transport = wsTransport(server);
  for (let mark = 0; mark < 16; mark += 1) client.send(Buffer.of(mark));
  await settle(10);
  const heard = new Heard();
  transport.attach(heard);
  assert.equal(heard.messages.length, 0, 'not while the session is made');
  await arrived(heard.messages, 16);
  assert.deepEqual(
    heard.messages.map((message) => message[0]),
    Array.from({ length: 16 }, (_, index) => index),
  );
  client.send(Buffer.of(99));
  await arrived(heard.messages, 17);
  transport.destroy();
});

test('a peer that floods a connection without session is cut off', async () => {
  const { client, server } = await wsInMemory();
  const transport = wsTransport(server);
  for (let mark = 0; mark < 17; mark += 1) client.send(Buffer.of(mark));
  await within(5_000, 'the end', transport.closed);
});
