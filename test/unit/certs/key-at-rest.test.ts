import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { before, test } from 'node:test';
import { sealedKind, sealKey, unsealKey } from '../../../certs/key-at-rest.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { cpuMs } from '../../support/cpu-time.ts';

const KEY = '-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n';
const PASSPHRASE = 'correct horse, Pferd: 馬';
const master = randomBytes(32);
/** Offsets in the header. */
const AT = { magic: 0, version: 4, kind: 5, log2N: 6, r: 7, p: 8, salt: 9, nonce: 25, ciphertext: 37 };

let underPassphrase: Buffer;
let underMaster: Buffer;
before(async () => {
  underPassphrase = await sealKey(KEY, PASSPHRASE, 'passphrase');
  underMaster = await sealKey(KEY, master, 'master-key');
});

function changed(sealed: Buffer, at: number, value = (sealed[at] ?? 0) ^ 1): Buffer {
  const copy = Buffer.from(sealed);
  copy[at] = value;
  return copy;
}

async function refuses(sealed: Buffer, secret: Buffer | string, why: RegExp): Promise<void> {
  await assert.rejects(unsealKey(sealed, secret), (error) => {
    assert.ok(isFairleadError(error, 'VALIDATION'), String(error));
    assert.match(error.message, why);
    assert.doesNotMatch(error.message, /\n|correct horse|secret/);
    return true;
  });
}

test('a key comes back under the secret it was sealed with', async () => {
  assert.equal(await unsealKey(underPassphrase, PASSPHRASE), KEY);
  assert.equal(await unsealKey(underPassphrase, Buffer.from(PASSPHRASE)), KEY);
  assert.equal(await unsealKey(underMaster, master), KEY);
  assert.equal(sealedKind(underPassphrase), 'passphrase');
  assert.equal(sealedKind(underMaster), 'master-key');
});

test('a sealed key shows nothing of the key and never looks the same', async () => {
  const again = await sealKey(KEY, master, 'master-key');
  assert.equal(underMaster.includes('secret'), false);
  assert.notDeepEqual(again.subarray(AT.salt, AT.nonce), underMaster.subarray(AT.salt, AT.nonce));
  assert.notDeepEqual(again.subarray(AT.ciphertext), underMaster.subarray(AT.ciphertext));
});

test('a passphrase is stretched by scrypt with N = 2^17, r = 8, p = 1', () => {
  assert.deepEqual([...underPassphrase.subarray(AT.log2N, AT.salt)], [17, 8, 1]);
});

test('the wrong secret is refused', async () => {
  await refuses(underPassphrase, 'wrong', /the passphrase is wrong or it was damaged/);
  await refuses(underMaster, randomBytes(32), /the master key is wrong or it was damaged/);
  await refuses(underMaster, randomBytes(31), /the master key must have 32 bytes/);
  await refuses(underPassphrase, '', /the passphrase is empty/);
  await refuses(underPassphrase, 'x'.repeat(5000), /longer than 4096 bytes/);
});

test('every flipped byte and every cut is refused', async () => {
  for (let at = 0; at < underMaster.length; at++) await refuses(changed(underMaster, at), master, /cannot be opened/);
  for (let end = 0; end < underMaster.length; end++) {
    await refuses(underMaster.subarray(0, end), master, /cannot be opened/);
  }
  await refuses(changed(underPassphrase, AT.salt), PASSPHRASE, /is wrong or it was damaged/);
  await refuses(changed(underPassphrase, underPassphrase.length - 1), PASSPHRASE, /is wrong or it was damaged/);
});

test('absurd parameters are refused at once, not tried', async () => {
  const absurd = [
    ...[63, 31, 19, 14, 0].map((value) => changed(underPassphrase, AT.log2N, value)),
    ...[0, 255].flatMap((value) => [AT.r, AT.p].map((at) => changed(underPassphrase, at, value))),
  ];
  const spentMs = await cpuMs(async () => {
    for (const key of absurd) await refuses(key, PASSPHRASE, /scrypt parameters are out of bounds/);
  });
  assert.ok(spentMs < 1000, `${spentMs} ms`);
});

test('other bytes are refused', async () => {
  await refuses(Buffer.alloc(0), master, /damaged/);
  await refuses(randomBytes(200), master, /damaged/);
  await refuses(changed(underMaster, AT.version, 2), master, /another version/);
  await refuses(changed(underMaster, AT.kind, 3), master, /damaged/);
  await refuses(Buffer.concat([underMaster, Buffer.alloc(70_000)]), master, /too large/);
  assert.throws(
    () => sealedKind(Buffer.from('x')),
    (error) => isFairleadError(error, 'VALIDATION'),
  );
});

test('a secret that would open nothing seals nothing', async () => {
  const refused = (error: unknown) => isFairleadError(error, 'VALIDATION');
  await assert.rejects(sealKey(KEY, '', 'passphrase'), refused);
  await assert.rejects(sealKey(KEY, randomBytes(16), 'master-key'), refused);
});
