/** A WebSocket as a transport: what it carries to and from a plain WebSocket, how it fills and drains, and how it ends. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Transport } from '../../../../shared/mux/transport.ts';
import { settle } from '../../../support/mux.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { arrived, attached, plain, wsInMemory } from '../../../support/ws-memory.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

describe('with a plain WebSocket at the other end', () => {
  for (const side of ['server', 'client'] as const) {
    test(`the ${side}'s frames are read`, async () => {
      const pair = await wsInMemory();
      const other = side === 'server' ? pair.client : pair.server;
      const messages = plain(other);
      const { transport } = attached(pair[side], { highWaterBytes: 100 * MIB });
      const sent: Buffer[] = [];
      for (const length of [0, 1, 112, 113, 2034, 2035, 2048, 65_522, 65_523, 65_536, MIB - 13]) {
        const head = randomBytes(13);
        const body = randomBytes(length);
        sent.push(Buffer.concat([head, body]));
        transport.send(head, body);
        transport.send(head);
        sent.push(head);
      }
      await arrived(messages, sent.length);
      for (const [index, message] of sent.entries()) assert.ok(messages[index]?.equals(message), `${message.length}`);
      transport.destroy();
    });

    test(`the ${side} reads whatever the other sends`, async () => {
      const pair = await wsInMemory();
      const other = side === 'server' ? pair.client : pair.server;
      const { transport, heard } = attached(pair[side]);
      const sent = [1, 125, 126, 127, 65_535, 65_536, MIB].map((length) => randomBytes(length));
      for (const message of sent) {
        other.send(message);
        // In fragments, which ws itself must read.
        other.send(message.subarray(0, 10), { fin: false });
        other.send(message.subarray(10), { fin: true });
      }
      const expected = sent.flatMap((message) => [message, message]);
      await arrived(heard.messages, expected.length);
      for (const [index, message] of expected.entries()) assert.ok(heard.messages[index]?.equals(message), `${index}`);
      assert.deepEqual(heard.violations, []);
      transport.destroy();
    });
  }

  test('many small messages of one turn leave in one write', async () => {
    const { client, server, serverSocket } = await wsInMemory();
    const messages = plain(client);
    let writes = 0;
    const inner = serverSocket as unknown as { _writev: unknown; _write: (...args: unknown[]) => void };
    const write = inner._write.bind(serverSocket);
    inner._writev = null;
    inner._write = (...args) => {
      writes += 1;
      write(...args);
    };
    const { transport } = attached(server);
    transport.cork();
    for (let count = 0; count < 20; count += 1) transport.send(Buffer.of(count));
    assert.equal(writes, 0, 'held back');
    transport.uncork();
    await arrived(messages, 20);
    assert.deepEqual(
      messages.map((message) => message[0]),
      Array.from({ length: 20 }, (_, index) => index),
    );
    transport.destroy();
  });
});

test('a full socket says so, and tells when it has drained', async () => {
  const { client, server, clientSocket } = await wsInMemory();
  clientSocket.pause();
  const { transport, heard } = attached(server, { highWaterBytes: 100 * KIB });
  assert.equal(transport.send(Buffer.alloc(8), Buffer.alloc(50 * KIB)), true);
  let sent = 1;
  while (transport.send(Buffer.alloc(8), Buffer.alloc(50 * KIB))) sent += 1;
  assert.ok(sent <= 4, `${sent} were taken`);
  assert.ok(transport.bufferedBytes > 100 * KIB);
  await settle(5);
  assert.equal(heard.drains, 0);
  const messages = plain(client);
  clientSocket.resume();
  await waitFor('a drain', () => heard.drains > 0, { everyMs: 1 });
  assert.equal(transport.bufferedBytes, 0);
  await arrived(messages, sent + 1);
  assert.equal(heard.drains, 1);
  transport.destroy();
});

describe('the end', () => {
  const gone = (transport: Transport) => within(5_000, 'the end', transport.closed);

  for (const side of ['server', 'client'] as const) {
    test(`a close by the ${side} that is answered: what was sent before arrives`, async () => {
      const pair = await wsInMemory();
      const other = side === 'server' ? pair.client : pair.server;
      const messages = plain(other);
      const closing = once(other, 'close') as Promise<[number, Buffer]>;
      const { transport } = attached(pair[side]);
      for (let count = 0; count < 50; count += 1) transport.send(Buffer.alloc(8), Buffer.alloc(10 * KIB));
      transport.close(1001, 'SHUTDOWN');
      transport.close(1002, 'late');
      assert.equal(transport.send(Buffer.of(1)), true, 'no reason to wait for a drain');
      const [code, reason] = await within(5_000, 'the close', closing);
      assert.deepEqual([code, String(reason)], [1001, 'SHUTDOWN']);
      assert.equal(messages.length, 50);
      assert.equal((await gone(transport)).code, 1001);
    });
  }

  test('a close that is not answered ends the connection after its time', async () => {
    const { server, clientSocket } = await wsInMemory();
    clientSocket.pause();
    const { transport } = attached(server, { closeTimeoutMs: 50 });
    const start = performance.now();
    transport.close(1001, 'SHUTDOWN');
    await sleep(20);
    assert.equal(server.readyState, server.CLOSING);
    const end = await gone(transport);
    assert.ok(performance.now() - start >= 40);
    assert.equal(end.code, 1006);
  });

  test('a close by the peer tells its code and reason', async () => {
    const { client, server } = await wsInMemory();
    const { transport } = attached(server);
    client.close(1002, 'PROTOCOL_ERROR');
    const end = await gone(transport);
    assert.deepEqual([end.code, end.reason], [1002, 'PROTOCOL_ERROR']);
  });

  test('a connection that vanishes ends with 1006, and with its error', async () => {
    const { server, serverSocket } = await wsInMemory();
    const { transport } = attached(server);
    serverSocket.destroy(new Error('read ECONNRESET'));
    const end = await gone(transport);
    assert.equal(end.code, 1006);
  });

  test('destroying ends it at once, and again changes nothing', async () => {
    const { client, server } = await wsInMemory();
    const { transport, heard } = attached(server);
    transport.destroy();
    transport.destroy();
    transport.close(1000, '');
    client.send(Buffer.of(1));
    assert.equal((await gone(transport)).code, 1006);
    await settle(5);
    assert.deepEqual(heard.messages, []);
  });

  test('a WebSocket that was closed before ends at once', async () => {
    const { server } = await wsInMemory();
    server.terminate();
    await once(server, 'close');
    const { transport } = attached(server);
    assert.equal((await gone(transport)).code, 1006);
  });
});
