import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createRequire, registerHooks } from 'node:module';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import type { Transport, TransportEvents } from '../../../../shared/mux/transport.ts';
import * as shared from '../../../../shared/mux/ws-transport.ts';
import { settle } from '../../../support/mux.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { recordWrites, wsFrame, wsInMemory } from '../../../support/ws-memory.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const BINARY = 0x82;
const hasNative = (() => {
  try {
    createRequire(import.meta.url)('bufferutil');
    return true;
  } catch {
    return false;
  }
})();

/** The same module a second time, for which the package bufferutil is not installed. */
async function withoutNative(): Promise<typeof shared> {
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'bufferutil') throw new Error('not installed');
      return next(specifier, context);
    },
  });
  const url = new URL('../../../../shared/mux/ws-transport.ts?script', import.meta.url).href;
  try {
    return (await import(url)) as typeof shared;
  } finally {
    hooks.deregister();
  }
}

class Heard implements TransportEvents {
  readonly messages: Buffer[] = [];
  readonly violations: string[] = [];
  drains = 0;

  message(first: Uint8Array, rest: readonly Uint8Array[] = []): void {
    assert.ok(first.byteLength > 0 || rest.length === 0, 'a message begins with its first part');
    this.messages.push(Buffer.concat([first, ...rest]));
  }

  violation(code: string): void {
    this.violations.push(code);
  }

  drained(): void {
    this.drains += 1;
  }
}

function attached(ws: WebSocket, options: shared.WsTransportOptions = {}, make = shared.wsTransport) {
  const transport = make(ws, options);
  const heard = new Heard();
  transport.attach(heard);
  return { transport, heard };
}

/** The messages that a plain WebSocket gets from now on. */
function plain(ws: WebSocket): Buffer[] {
  const messages: Buffer[] = [];
  ws.on('message', (data) => messages.push(data as Buffer));
  return messages;
}

async function arrived(messages: readonly unknown[], count: number): Promise<void> {
  await waitFor(`${count} messages`, () => messages.length >= count, { everyMs: 1 });
  await settle(2);
  assert.equal(messages.length, count);
}

const EVERY_LENGTH = Array.from({ length: 131 }, (_, length) => length);
const LONG = [200, 65_535, 65_536, 65_536 + 13, 70_001, MIB];

for (const [name, load, skip] of [
  ['bufferutil', () => Promise.resolve(shared), !hasNative],
  ['script', withoutNative, false],
] as const) {
  describe(`masking by ${name}`, { skip: skip && 'bufferutil is not installed' }, () => {
    /** What `send` puts on the wire, unmasked here and by hand. */
    function unmasked(wire: Buffer): Buffer {
      assert.equal(wire[0], BINARY);
      const second = wire[1] ?? 0;
      assert.equal(second & 0x80, 0x80, 'a client masks');
      const short = second & 0x7f;
      const at = short < 126 ? 2 : short === 126 ? 4 : 10;
      const length = short < 126 ? short : short === 126 ? wire.readUInt16BE(2) : Number(wire.readBigUInt64BE(2));
      const mask = wire.subarray(at, at + 4);
      const body = wire.subarray(at + 4);
      assert.equal(body.byteLength, length);
      return Buffer.from(body.map((byte, index) => byte ^ (mask[index & 3] ?? 0)));
    }

    test('a body of every length behind a head of every length is the same unmasked', async () => {
      const { wsTransport } = await load();
      const { client, clientSocket } = await wsInMemory();
      const wire = recordWrites(clientSocket);
      const { transport } = attached(client, {}, wsTransport);
      const source = randomBytes(300);
      for (const headBytes of [1, 7, 8, 9, 10, 11, 12, 13, 47, 48, 49, 50, 51, 130]) {
        for (const bodyBytes of EVERY_LENGTH) {
          // Views at any offset, as frames are cut out of larger buffers.
          const head = source.subarray(headBytes & 7, (headBytes & 7) + headBytes);
          const body = source.subarray(bodyBytes % 13, (bodyBytes % 13) + bodyBytes);
          const before = Buffer.from(source);
          transport.send(head, bodyBytes === 0 ? undefined : body);
          assert.ok(unmasked(wire()).equals(Buffer.concat([head, body])), `${headBytes} and ${bodyBytes}`);
          assert.ok(before.equals(source), 'the caller keeps its bytes');
        }
      }
      for (const bodyBytes of LONG) {
        const body = randomBytes(bodyBytes);
        transport.send(source.subarray(0, 13), body);
        assert.ok(unmasked(wire()).equals(Buffer.concat([source.subarray(0, 13), body])), `${bodyBytes}`);
      }
      transport.destroy();
    });

    test('what a plain WebSocket masks is read, at every length', async () => {
      const { wsTransport } = await load();
      const { client, server } = await wsInMemory();
      const { transport, heard } = attached(server, {}, wsTransport);
      const sent = [...EVERY_LENGTH.slice(1), ...LONG].map((length) => randomBytes(length));
      for (const message of sent) client.send(message);
      await arrived(heard.messages, sent.length);
      for (const [index, message] of sent.entries())
        assert.ok(heard.messages[index]?.equals(message), `${message.length}`);
      transport.destroy();
    });

    test('a message that comes byte by byte is unmasked in step', async () => {
      const { wsTransport } = await load();
      const { clientSocket, server } = await wsInMemory();
      const { transport, heard } = attached(server, {}, wsTransport);
      const message = randomBytes(131);
      for (const byte of wsFrame(BINARY, message, Buffer.of(1, 2, 3, 4))) clientSocket.write(Buffer.of(byte));
      await arrived(heard.messages, 1);
      assert.ok(heard.messages[0]?.equals(message));
      transport.destroy();
    });
  });
}

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

describe('limits', () => {
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
    const transport = shared.wsTransport(server);
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
    const transport = shared.wsTransport(server);
    for (let mark = 0; mark < 17; mark += 1) client.send(Buffer.of(mark));
    await within(5_000, 'the end', transport.closed);
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
