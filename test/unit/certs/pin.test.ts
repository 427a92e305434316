import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { before, test } from 'node:test';
import { pinBytes, spkiPin } from '../../../certs/pin.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { type TestCa, testCa } from './fixtures.ts';

let one: TestCa;
let other: TestCa;
before(async () => {
  one = await testCa();
  other = await testCa();
});

test('the pin is the SHA-256 of the public key', () => {
  const spki = new X509Certificate(one.ca.certPem).publicKey.export({ type: 'spki', format: 'der' });
  assert.equal(spkiPin(one.ca.certPem), `sha256:${createHash('sha256').update(spki).digest('hex')}`);
  assert.equal(one.ca.fingerprint, spkiPin(one.ca.certPem));
});

test('a pin is the same bytes with or without its prefix, in any case', () => {
  const pin = one.ca.fingerprint;
  for (const form of [pin, pin.toUpperCase(), pin.slice(7), pin.slice(7).toUpperCase(), ` ${pin}\n`]) {
    assert.deepEqual(pinBytes(form), pinBytes(spkiPin(one.ca.certPem)), form);
    assert.notDeepEqual(pinBytes(form), pinBytes(spkiPin(other.ca.certPem)), form);
  }
});

test('a malformed pin is an error', () => {
  for (const pin of ['', 'sha256:', 'sha1:00', one.ca.fingerprint.slice(0, -1), `${one.ca.fingerprint}0`]) {
    assert.throws(
      () => pinBytes(pin),
      (error) => isFairleadError(error, 'VALIDATION'),
      pin,
    );
  }
});

test('a certificate with another one behind it has no pin', () => {
  const bundle = one.ca.certPem + other.ca.certPem;
  assert.throws(
    () => spkiPin(bundle),
    (error) => isFairleadError(error, 'VALIDATION'),
  );
});
