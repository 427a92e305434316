import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { decodePem, encodePem, readCertificate } from '../../../certs/pem.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { testCa } from './fixtures.ts';

test('PEM gives back the bytes of any length', () => {
  for (let length = 1; length < 200; length++) {
    const bytes = randomBytes(length);
    assert.deepEqual(decodePem('X', encodePem('X', bytes)), bytes);
  }
});

test('CRLF and white space around are fine', () => {
  const pem = encodePem('X', Buffer.from('hello'));
  assert.deepEqual(decodePem('X', `\n  ${pem.replaceAll('\n', '\r\n')}\n`), Buffer.from('hello'));
});

test('anything but one block of the label is refused', () => {
  const pem = encodePem('X', Buffer.from('hello'));
  const others = [
    '',
    'hello',
    encodePem('Y', Buffer.from('hello')),
    pem + pem,
    `text\n${pem}`,
    `${pem}text`,
    pem.replace('aGVsbG8=', 'aGVsbG8'),
    pem.replace('aGVsbG8=', 'aGVs bG8='),
    pem.replace('aGVsbG8=', 'aGVsbG9='),
    pem.replace('aGVsbG8=', 'aGVs*bG8='),
    pem.replace('aGVsbG8=', ''),
    pem.replace('aGVsbG8=', 'Proc-Type: 4,ENCRYPTED\n\naGVsbG8='),
    '-----BEGIN X-----\n-----END X-----\n',
  ];
  for (const other of others) assert.equal(decodePem('X', other), undefined, other);
});

test('a certificate is read alone; a second one behind it would be trusted unseen', async () => {
  const { ca } = await testCa();
  const other = await testCa();
  assert.equal(readCertificate(ca.certPem).ca, true);
  for (const text of [ca.certPem + other.ca.certPem, '', encodePem('CERTIFICATE', Buffer.from('x'))]) {
    assert.throws(
      () => readCertificate(text),
      (error) => isFairleadError(error, 'VALIDATION'),
    );
  }
});

test('bytes behind a certificate, which OpenSSL leaves unread, are refused', async () => {
  const { certPem } = (await testCa()).ca;
  const der = decodePem('CERTIFICATE', certPem) ?? Buffer.alloc(0);
  for (const more of [Buffer.of(0), der]) {
    assert.throws(
      () => readCertificate(encodePem('CERTIFICATE', Buffer.concat([der, more]))),
      (error) => isFairleadError(error, 'VALIDATION'),
    );
  }
});
