/** The masking of WebSocket messages, which a client's transport does itself, by bufferutil or by script. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createRequire, registerHooks } from 'node:module';
import { describe, test } from 'node:test';
import * as shared from '../../../../shared/mux/ws-transport.ts';
import { arrived, attached, BINARY, recordWrites, wsFrame, wsInMemory } from '../../../support/ws-memory.ts';

const MIB = 1024 * 1024;
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
