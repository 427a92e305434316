/** The checksums of a site archive, and the signature over them: by a key for releases, and over nothing else. */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../../shared/errors.ts';
import { keyIdOf, type ReleaseKeys } from '../../../shared/releases/signature.ts';
import { validate } from '../../../shared/validate.ts';

/** As `sha256sum -c` takes it, over all other files. */
export const SUMS_FILE = 'SHA256SUMS';
export const SIGNATURE_FILE = `${SUMS_FILE}.sig`;

const LINE = /^([0-9a-f]{64}) {2}([^\n]+)\n/gm;
/** Keeps a signature over anything else from counting here. */
const PURPOSE = 'fairlead site archive v1\n';

const SumsSignature = Type.Object(
  {
    keyId: Type.String({ pattern: '^[0-9a-f]{16}$' }),
    /** Ed25519 over the purpose and the checksums, in base64. */
    signature: Type.String({ pattern: '^[A-Za-z0-9+/]{86}==$' }),
  },
  { additionalProperties: false },
);
type SumsSignature = Static<typeof SumsSignature>;

/** @param sums SHA-256 in hex by path */
export function formatSums(sums: ReadonlyMap<string, string>): string {
  return [...sums].map(([path, sha256]) => `${sha256}  ${path}\n`).join('');
}

/** @throws FairleadError VALIDATION for anything but such lines */
export function parseSums(text: string): Map<string, string> {
  const lines = [...text.matchAll(LINE)];
  const sums = new Map(lines.map(([, sha256 = '', path = '']) => [path, sha256]));
  if (formatSums(sums) === text) return sums;
  throw new FairleadError('VALIDATION', `${SUMS_FILE} has a line that is no checksum of a file, or one file twice`);
}

/** @param privateKey of Ed25519 @returns the contents of SIGNATURE_FILE */
export function signSums(sums: string, privateKey: KeyObject): string {
  const signature: SumsSignature = {
    keyId: keyIdOf(createPublicKey(privateKey)),
    signature: sign(null, Buffer.from(PURPOSE + sums), privateKey).toString('base64'),
  };
  return `${JSON.stringify(signature, undefined, 2)}\n`;
}

/** @returns the id of the key that has signed @throws FairleadError RELEASE_INVALID unless it is one of `keys` */
export function verifySums(sums: string, signed: unknown, keys: ReleaseKeys): string {
  const { keyId, signature } = validate(SumsSignature, signed, SIGNATURE_FILE, 'RELEASE_INVALID');
  const key = keys.get(keyId);
  if (key === undefined) {
    throw new FairleadError(
      'RELEASE_INVALID',
      `the archive is signed by the key ${keyId}, which is not among those given`,
    );
  }
  if (verify(null, Buffer.from(PURPOSE + sums), key, Buffer.from(signature, 'base64'))) return keyId;
  throw new FairleadError('RELEASE_INVALID', `the signature over ${SUMS_FILE} is not that of the key ${keyId}`);
}
