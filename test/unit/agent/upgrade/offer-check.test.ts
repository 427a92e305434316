import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { checkOffer, type OfferContext } from '../../../../agent/upgrade/offer-check.ts';
import { type FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import type { Release, SignedRelease } from '../../../../shared/releases/release.ts';
import { keyIdOf, signRelease } from '../../../../shared/releases/signature.ts';

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const other = generateKeyPairSync('ed25519');

const RELEASE: Release = {
  ...{ version: '1.2.0', sequence: 5, os: 'linux', arch: 'x64', bytes: 100, sha256: 'a'.repeat(64) },
};
const CONTEXT: OfferContext = {
  keys: new Map([[keyIdOf(publicKey), publicKey]]),
  ...{ os: 'linux', arch: 'x64', version: '1.1.0', record: { sequence: 4, refused: [] } },
};

function refusal(release: SignedRelease, context: Partial<OfferContext> = {}): FairleadError | undefined {
  try {
    checkOffer(release, { ...CONTEXT, ...context });
    return undefined;
  } catch (error) {
    if (isFairleadError(error)) return error;
    throw error;
  }
}

const signed = (change: Partial<Release> = {}, key = privateKey) => signRelease({ ...RELEASE, ...change }, key);

test('a newer version of a higher sequence, for this platform, signed by a key of this host, is taken', () => {
  assert.equal(refusal(signed()), undefined);
  const both = new Map([...CONTEXT.keys, [keyIdOf(other.publicKey), other.publicKey]]);
  assert.equal(refusal(signed({}, other.privateKey), { keys: both }), undefined);
  assert.equal(refusal(signed(), { version: '1.2.0-rc.1' }), undefined);
});

test('what no key of this host has signed just so is refused, whatever else it says', () => {
  const release = signed();
  const changes: Partial<SignedRelease>[] = [
    ...[{ version: '1.3.0' }, { sequence: 6 }, { os: 'darwin' }, { arch: 'arm64' }, { bytes: 99 }],
    ...[{ sha256: 'b'.repeat(64) }, { downgrade: true as const }],
  ];
  for (const change of changes) assert.equal(refusal({ ...release, ...change })?.code, 'RELEASE_INVALID');
  assert.equal(refusal(signed({}, other.privateKey))?.code, 'RELEASE_INVALID');
  assert.equal(refusal(release, { keys: new Map() })?.code, 'RELEASE_INVALID');
  const downgrade = signed({ downgrade: true, version: '1.0.0' });
  const { downgrade: _, ...bare } = downgrade;
  assert.equal(refusal(bare)?.code, 'RELEASE_INVALID');
});

test('another platform, an old sequence, an older version and what has failed are refused', () => {
  assert.equal(refusal(signed({ os: 'darwin' }))?.code, 'UNSUPPORTED');
  assert.equal(refusal(signed({ arch: 'arm64' }))?.code, 'UNSUPPORTED');
  for (const sequence of [3, 4]) assert.match(refusal(signed({ sequence }))?.message ?? '', /is not above 4/);
  for (const version of ['1.1.0', '1.0.9', '1.1.0-rc.1']) {
    assert.match(refusal(signed({ version }))?.message ?? '', /is not newer than 1\.1\.0/);
  }
  const refused = [{ sequence: 5, version: '1.2.0', code: 'CONFLICT', detail: 'it crashed', at: '' }];
  assert.match(refusal(signed(), { record: { sequence: 4, refused } })?.message ?? '', /not tried again: it crashed/);
  assert.equal(refusal(signed({ sequence: 6 }), { record: { sequence: 4, refused } }), undefined);
});

test('a downgrade that is signed as one is taken, once', () => {
  const back = signed({ version: '0.9.0', downgrade: true });
  assert.equal(refusal(back), undefined);
  assert.equal(refusal(back, { record: { sequence: 5, refused: [] } })?.code, 'CONFLICT');
});
