/** A token comes back as it was made or not at all, and no text brings its reader down. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatToken, parseToken, type TokenParts } from '../../certs/enrollment-token.ts';
import { sealedKind, sealKey, unsealKey } from '../../certs/key-at-rest.ts';
import { isFairleadError } from '../../shared/errors.ts';

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
const prefix = fc.constantFrom('fle1' as const, 'fla1' as const);
const parts: fc.Arbitrary<TokenParts> = fc.record(
  {
    pin: bytes32.map((bytes) => `sha256:${bytes.toString('hex')}`),
    id: fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
    secret: bytes32,
  },
  { noNullPrototype: true },
);
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function isRefused(read: () => unknown): void {
  assert.throws(read, (error) => isFairleadError(error, 'TOKEN_INVALID'));
}

test('every token gives back its parts', () => {
  fc.assert(
    fc.property(prefix, parts, (kind, value) => assert.deepEqual(parseToken(kind, formatToken(kind, value)), value)),
  );
});

test('a token with one other character is refused', () => {
  fc.assert(
    fc.property(parts, fc.nat(), fc.constantFrom(...BASE64URL), (value, at, character) => {
      const token = formatToken(value);
      const index = 5 + (at % (token.length - 5));
      fc.pre(token[index] !== character);
      isRefused(() => parseToken(token.slice(0, index) + character + token.slice(index + 1)));
    }),
    { numRuns: 2000 },
  );
});

test('a token that was cut or grew is refused', () => {
  fc.assert(
    fc.property(parts, fc.nat(), fc.stringMatching(/^[A-Za-z0-9_-]{1,5}$/), (value, at, more) => {
      const token = formatToken(value);
      isRefused(() => parseToken(token.slice(0, at % token.length)));
      isRefused(() => parseToken(token + more));
    }),
  );
});

test('any other text is refused', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => isRefused(() => parseToken(text))));
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Za-z0-9_-]{0,200}$/), (text) => isRefused(() => parseToken(`fle1.${text}`))),
  );
});

test('a sealed key with any bytes changed does not open', async () => {
  const master = Buffer.alloc(32, 7);
  const sealed = await sealKey('a key', master, 'master-key');
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 8 }), async (at, patch) => {
      const changed = Buffer.from(sealed);
      changed.set(patch.slice(0, sealed.length - (at % sealed.length)), at % sealed.length);
      // Under a passphrase the master key is only text to stretch: that is slow, and shown elsewhere.
      fc.pre(!changed.equals(sealed) && changed[5] !== 1);
      await assert.rejects(unsealKey(changed, master), (error) => isFairleadError(error, 'VALIDATION'));
    }),
  );
});

test('any bytes are no sealed key', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.throws(
        () => sealedKind(Buffer.from(bytes)),
        (error) => isFairleadError(error, 'VALIDATION'),
      );
    }),
  );
});
