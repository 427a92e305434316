import assert from 'node:assert/strict';
import { Readable, Writable } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { isFairleadError } from '../../../shared/errors.ts';
import { pump } from '../../../shared/pump.ts';

/** What comes out at the other end, and what it fails with. */
async function passed(bytes: number, chunks: readonly Uint8Array[]): Promise<{ received: Buffer; error: unknown }> {
  const received: Buffer[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      received.push(chunk);
      done();
    },
  });
  const source = Readable.from(chunks, { objectMode: false });
  const error = await pump(source, sink, new AbortController().signal, bytes).then(
    () => undefined,
    (failure: unknown) => failure,
  );
  return { received: Buffer.concat(received), error };
}

const text = (...chunks: string[]) => chunks.map((chunk) => Buffer.from(chunk));
const isInvalid = (error: unknown, word: string) =>
  isFairleadError(error, 'VALIDATION') && error.message.includes(word);

test('a body of the length that was said passes, however it is cut', async () => {
  for (const chunks of [text('hello'), text('h', 'ell', 'o'), text('hello', ''), text('', 'hello')]) {
    const { received, error } = await passed(5, chunks);
    assert.equal(error, undefined);
    assert.equal(received.toString(), 'hello');
  }
});

test('no byte is a body of its own', async () => {
  assert.deepEqual(await passed(0, []), { received: Buffer.alloc(0), error: undefined });
  const { received, error } = await passed(0, text('x'));
  assert.ok(isInvalid(error, 'longer'));
  assert.equal(received.byteLength, 0);
});

test('of a body that is longer not one byte too many passes', async () => {
  for (const chunks of [text('helloPOST /x'), text('hello', 'POST /x'), text('hell', 'oPOST /x')]) {
    const { received, error } = await passed(5, chunks);
    assert.ok(isInvalid(error, 'longer'), String(error));
    assert.ok('hello'.startsWith(received.toString()), received.toString());
  }
});

test('a body that is shorter fails, although all of it has passed', async () => {
  const { received, error } = await passed(5, text('hel'));
  assert.ok(isInvalid(error, 'shorter'), String(error));
  assert.equal(received.toString(), 'hel');
});

test('the end comes for the exact length alone, whatever the chunks', async () => {
  const chunks = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(chunks, fc.integer({ min: -3, max: 3 }), async (parts, off) => {
      const whole = Buffer.concat(parts);
      const bytes = Math.max(0, whole.byteLength + off);
      const { received, error } = await passed(bytes, parts);
      assert.ok(received.byteLength <= bytes);
      assert.ok(whole.subarray(0, received.byteLength).equals(received));
      if (bytes === whole.byteLength) assert.ok(error === undefined && received.equals(whole));
      else assert.ok(isInvalid(error, bytes < whole.byteLength ? 'longer' : 'shorter'));
    }),
  );
});
