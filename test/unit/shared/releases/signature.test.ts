/** Releases are taken only as they were signed, and by keys that are known. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { FairleadError } from '../../../../shared/errors.ts';
import { type Release, signedText } from '../../../../shared/releases/release.ts';
import { keyIdOf, readReleaseKeys, signRelease, verifyRelease } from '../../../../shared/releases/signature.ts';
import { compareVersions } from '../../../../shared/releases/version-order.ts';

const ours = generateKeyPairSync('ed25519');
const others = generateKeyPairSync('ed25519');
const pemOf = ({ publicKey }: typeof ours) => publicKey.export({ type: 'spki', format: 'pem' }).toString();
const keys = readReleaseKeys(pemOf(ours), 'a file');
const release: Release = {
  version: '0.2.0',
  sequence: 7,
  os: 'linux',
  arch: 'x64',
  bytes: 119_000_000,
  sha256: 'a1'.repeat(32),
};
const isInvalid = (error: unknown) => error instanceof FairleadError && error.code === 'RELEASE_INVALID';

test('what was signed is taken', () => {
  const signed = signRelease(release, ours.privateKey);
  verifyRelease(signed, keys);
  assert.equal(signed.keyId, keyIdOf(ours.publicKey));
});

test('the text that is signed is just this', () => {
  assert.equal(
    signedText({ ...release, downgrade: true }).toString(),
    `fairlead-agent release v1\nversion 0.2.0\nsequence 7\nplatform linux/x64\nbytes 119000000\nsha256 ${release.sha256}\ndowngrade yes\n`,
  );
});

test('any change of any field makes the signature count for nothing', () => {
  const signed = signRelease(release, ours.privateKey);
  const changes: Partial<Release>[] = [
    { version: '0.2.1' },
    { sequence: 8 },
    { os: 'darwin' },
    { arch: 'arm64' },
    { bytes: 119_000_001 },
    { sha256: 'a2'.repeat(32) },
    { downgrade: true },
  ];
  for (const change of changes) assert.throws(() => verifyRelease({ ...signed, ...change }, keys), isInvalid);
});

test('a flipped bit of the signature is found', () => {
  const signed = signRelease(release, ours.privateKey);
  fc.assert(
    fc.property(fc.nat(511), (bit) => {
      const bytes = Buffer.from(signed.signature, 'base64');
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      assert.throws(() => verifyRelease({ ...signed, signature: bytes.toString('base64') }, keys), isInvalid);
    }),
  );
});

test('a key that is not known, and one that borrows the name of one that is', () => {
  const signed = signRelease(release, others.privateKey);
  assert.throws(() => verifyRelease(signed, keys), /signed by the key .*, which is not trusted/);
  assert.throws(() => verifyRelease({ ...signed, keyId: keyIdOf(ours.publicKey) }, keys), isInvalid);
  assert.throws(() => verifyRelease(signed, readReleaseKeys('', 'nothing')), /none is known here/);
});

test('two keys at once, so that one can take the place of the other', () => {
  const both = readReleaseKeys(`${pemOf(ours)}\n${pemOf(others)}`, 'a file');
  for (const { privateKey } of [ours, others]) verifyRelease(signRelease(release, privateKey), both);
});

test('keys of other sorts are refused', () => {
  const rsa = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString();
  assert.throws(() => readReleaseKeys(pem, 'x.pub'), /x\.pub holds no public key for releases/);
  assert.throws(() => readReleaseKeys('no key', 'x.pub'), /x\.pub holds no public key for releases/);
  assert.throws(() => signRelease(release, rsa.privateKey), /Ed25519/);
});

test('values that could hold more than one line cannot be signed', () => {
  assert.throws(
    () => signRelease({ ...release, version: '0.2.0\nsequence 9' }, ours.privateKey),
    /not valid at \/version/,
  );
  assert.throws(() => signRelease({ ...release, os: 'linux/x64\n' }, ours.privateKey), /not valid at \/os/);
});

test('versions are ordered by semantic versioning', () => {
  const rising = ['0.1.0', '0.2.0-rc.1', '0.2.0-rc.2', '0.2.0', '0.10.0', '1.0.0'];
  assert.deepEqual([...rising].sort(compareVersions), rising);
});
