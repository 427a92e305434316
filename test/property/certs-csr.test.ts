/** Whatever is sent as a certificate request, only one that its sender signed as it stands is accepted. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { createCsr, readCsr } from '../../certs/csr.ts';
import { decodePem, encodePem } from '../../certs/pem.ts';
import { isFairleadError } from '../../shared/errors.ts';

const LABEL = 'CERTIFICATE REQUEST';
let requests: Buffer[];

before(async () => {
  const keys = [
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  ];
  requests = await Promise.all(keys.map(async (key) => decodePem(LABEL, await createCsr(key)) ?? Buffer.alloc(0)));
});

async function isRefused(pem: string): Promise<void> {
  await assert.rejects(readCsr(pem), (error) => {
    assert.ok(isFairleadError(error, 'CSR_INVALID'), String(error));
    assert.match(error.message, /^the [^\n]+$/);
    return true;
  });
}

test('any text is refused', async () => {
  await fc.assert(fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 500 }), isRefused));
});

test('any bytes in PEM are refused', async () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 500 });
  await fc.assert(fc.asyncProperty(bytes, (value) => isRefused(encodePem(LABEL, Buffer.from(value)))));
});

test('a request that was changed in any place, in any way, is refused', async () => {
  const change = fc.record({
    which: fc.nat(),
    at: fc.nat(),
    remove: fc.nat(3),
    insert: fc.uint8Array({ maxLength: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(change, async ({ which, at, remove, insert }) => {
      const request = requests[which % requests.length] ?? Buffer.alloc(0);
      const start = at % request.length;
      const changed = Buffer.concat([request.subarray(0, start), insert, request.subarray(start + remove)]);
      fc.pre(!changed.equals(request));
      await isRefused(encodePem(LABEL, changed));
    }),
    { numRuns: 1500 },
  );
});

test('the requests themselves are accepted', async () => {
  for (const request of requests) assert.ok((await readCsr(encodePem(LABEL, request))).spki.length > 0);
});
