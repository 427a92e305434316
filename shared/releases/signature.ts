/** Signatures of releases: Ed25519 (RFC 8032), checked against keys that are known beforehand. */
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { FairleadError } from '../errors.ts';
import { validate } from '../validate.ts';
import { Release, SignedRelease, signedText } from './release.ts';

const PEM_BLOCK = /-----BEGIN PUBLIC KEY-----[\s\S]*?-----END PUBLIC KEY-----/g;
const KEY_ID_CHARS = 16;

/** Public keys that releases may be signed by, by their ids. */
export type ReleaseKeys = ReadonlyMap<string, KeyObject>;

/** The name that signatures have for a key. */
export function keyIdOf(publicKey: KeyObject): string {
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('hex').slice(0, KEY_ID_CHARS);
}

/** The keys in a text of PEM blocks, which may hold several. @throws FairleadError VALIDATION for any other sort of key */
export function readReleaseKeys(pem: string, source: string): ReleaseKeys {
  const keys = new Map<string, KeyObject>();
  for (const [block] of pem.matchAll(PEM_BLOCK)) {
    const key = readKey(block, source);
    keys.set(keyIdOf(key), key);
  }
  if (keys.size === 0 && pem.trim() !== '') throw noKey(source);
  return keys;
}

function readKey(block: string, source: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey(block);
  } catch (cause) {
    throw noKey(source, cause);
  }
  if (key.asymmetricKeyType !== 'ed25519') throw noKey(source);
  return key;
}

function noKey(source: string, cause?: unknown): FairleadError {
  const text = `${source} holds no public key for releases: it must be an Ed25519 key in PEM, as fairlead release keygen makes them`;
  return new FairleadError('VALIDATION', text, { cause });
}

/** Signs a release. @param privateKey of Ed25519 @throws FairleadError VALIDATION */
export function signRelease(release: Release, privateKey: KeyObject): SignedRelease {
  const checked = validate(Release, release, 'the release');
  if (privateKey.asymmetricKeyType !== 'ed25519') {
    throw new FairleadError('VALIDATION', 'releases are signed by an Ed25519 key: fairlead release keygen makes one');
  }
  const signature = sign(null, signedText(checked), privateKey).toString('base64');
  return { ...checked, keyId: keyIdOf(createPublicKey(privateKey)), signature };
}

/** @throws FairleadError RELEASE_INVALID, unless one of `keys` has signed `release` just as it is */
export function verifyRelease(release: SignedRelease, keys: ReleaseKeys): void {
  const { keyId, signature, ...signed } = validate(SignedRelease, release, 'the release', 'RELEASE_INVALID');
  const key = keys.get(keyId);
  if (key === undefined) {
    const known = keys.size === 0 ? 'none is known here' : `known here: ${[...keys.keys()].join(', ')}`;
    throw new FairleadError(
      'RELEASE_INVALID',
      `the release is signed by the key ${keyId}, which is not trusted (${known})`,
    );
  }
  if (!verify(null, signedText(signed), key, Buffer.from(signature, 'base64'))) {
    throw new FairleadError(
      'RELEASE_INVALID',
      `the signature of the release ${signed.version} is not that of the key ${keyId}`,
    );
  }
}
