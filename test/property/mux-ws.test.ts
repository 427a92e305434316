/** However the network cuts a WebSocket's bytes, the same messages come out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { wsTransport } from '../../shared/mux/ws-transport.ts';
import { settle } from '../support/mux.ts';
import { waitFor } from '../support/wait.ts';
import { wsFrame, wsInMemory } from '../support/ws-memory.ts';

const BINARY = 0x82;
const mask = fc.uint8Array({ minLength: 4, maxLength: 4 });
const body = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 200 }),
  fc.constantFrom(125, 126, 127, 65_535, 65_536).map((length) => new Uint8Array(length).fill(7)),
);
/** Messages, each whole or in fragments, which only ws itself reads. */
const messages = fc.array(fc.tuple(body, mask, fc.option(fc.nat())), { minLength: 1, maxLength: 8 });
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5000 })), {
  minLength: 1,
  maxLength: 60,
});

function* pieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  let index = 0;
  for (let at = 0; at < bytes.length; ) {
    // Whatever the sizes, large messages do not come in thousands of pieces.
    const size = index < sizes.length ? (sizes[index] ?? 1) : 20_000;
    index += 1;
    yield Buffer.from(bytes.subarray(at, at + size));
    at += size;
  }
}

function encoded(payload: Uint8Array, key: Uint8Array, cut: number | null): Buffer {
  if (cut === null) return wsFrame(BINARY, payload, key);
  const at = cut % (payload.byteLength + 1);
  return Buffer.concat([wsFrame(0x02, payload.subarray(0, at), key), wsFrame(0x80, payload.subarray(at), key)]);
}

test('any messages in any pieces come out whole and in order', { timeout: 30_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(messages, cuts, async (sent, sizes) => {
      const { server, clientSocket } = await wsInMemory();
      const transport = wsTransport(server);
      const got: Buffer[] = [];
      transport.attach({
        message: (first, rest = []) => got.push(Buffer.concat([first, ...rest])),
        violation: (_, reason) => assert.fail(reason),
        drained: () => undefined,
      });
      for (const piece of pieces(Buffer.concat(sent.map((parts) => encoded(...parts))), sizes))
        clientSocket.write(piece);
      await waitFor('all messages', () => got.length >= sent.length, { everyMs: 1, timeoutMs: 5_000 });
      await settle(1);
      transport.destroy();
      assert.equal(got.length, sent.length);
      for (const [index, [payload]] of sent.entries()) assert.ok(got[index]?.equals(payload), `message ${index}`);
    }),
    { numRuns: 300, interruptAfterTimeLimit: 3_500 },
  );
});

test('any bytes after the upgrade end in messages or a violation, never in a crash', { timeout: 30_000 }, async () => {
  const noise = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc
        .tuple(fc.nat({ max: 255 }), body, fc.option(mask))
        .map(([first, payload, key]) => wsFrame(first, payload, key ?? undefined)),
    ),
    { minLength: 1, maxLength: 6 },
  );
  await fc.assert(
    fc.asyncProperty(noise, cuts, async (chunks, sizes) => {
      const { server, clientSocket } = await wsInMemory();
      const transport = wsTransport(server);
      let violations = 0;
      transport.attach({
        message: (first, rest = []) => assert.ok(Buffer.concat([first, ...rest]).byteLength <= 1024 * 1024),
        violation: () => {
          violations += 1;
          transport.destroy();
        },
        drained: () => undefined,
      });
      for (const piece of pieces(Buffer.concat(chunks), sizes)) clientSocket.write(piece);
      await settle(4);
      transport.destroy();
      await transport.closed;
      assert.ok(violations <= 1);
    }),
    { numRuns: 300, interruptAfterTimeLimit: 2_500 },
  );
});
