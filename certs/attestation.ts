/** Statements that the CA's key signs besides certificates: each for one purpose, which its bytes begin with. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { FairleadError } from '../shared/errors.ts';
import { isIntermediateOf } from './intermediate.ts';
import { verify } from './native.ts';
import { certificateBlocks, readCertificate } from './pem.ts';
import { pinOfSpki, spkiOf } from './pin.ts';
import { isRoot, readBundle, trustFrom } from './trust.ts';

const PURPOSE = /^[a-z0-9-]{1,64}$/;
const MAX_CERTIFICATES = 64;

/** What is signed for `text`. It begins with letters, so that it can be no certificate, and names its purpose. */
export function attestedBytes(purpose: string, text: string): Buffer {
  if (!PURPOSE.test(purpose)) throw new Error(`${purpose} is no purpose of a signature`);
  return Buffer.from(`fairlead-${purpose}\n${text}`, 'utf8');
}

/** Keys whose statements count, by their pins. */
export type Attesters = ReadonlyMap<string, KeyObject>;

/**
 * The keys of the CAs in a text that is trusted as it is, such as one's own file: its roots, and the intermediates below
 * them. Those count whatever their age, since a log that was kept outlives the intermediate that has signed it.
 * @throws FairleadError VALIDATION if there is no certificate, too many, or one that is damaged
 */
export function attestersIn(pem: string): Attesters {
  const blocks = certificateBlocks(pem);
  if (blocks.length === 0) throw new FairleadError('VALIDATION', 'there is no certificate in PEM form');
  if (blocks.length > MAX_CERTIFICATES) {
    throw new FairleadError('VALIDATION', `there are more than ${MAX_CERTIFICATES} certificates`);
  }
  const certificates = blocks.map(readWhole);
  const roots = certificates.filter(isRoot);
  return keysOf([...roots, ...below(roots, certificates)]);
}

/**
 * The keys of the CAs in a bundle that anyone may have sent, for whoever knows roots by `pins`: the roots that he may
 * trust at `now` (ms since 1970), and the intermediates below them that are valid then. An endorsement that has expired
 * leads nowhere, and an intermediate that has must not be of use to whoever stole its key.
 * @throws FairleadError VALIDATION if the bundle is too large, or a pin is malformed
 */
export function attestersFrom(bundle: string, pins: string | readonly string[], now: number): Attesters {
  const roots = trustFrom(bundle, pins, now).map(({ x509 }) => x509);
  const isValid = (one: X509Certificate) => one.validFromDate.getTime() <= now && now < one.validToDate.getTime();
  return keysOf([...roots, ...below(roots, readBundle(bundle)).filter(isValid)]);
}

/** Whose the signature under `text` is: of the key with the pin `signer`, of somebody else, or of a key that is not known. */
export async function checkAttestation(
  keys: Attesters,
  statement: { purpose: string; text: string; signer: string; signature: string },
): Promise<'good' | 'forged' | 'unknown'> {
  const key = keys.get(statement.signer);
  if (key === undefined) return 'unknown';
  const signature = Buffer.from(statement.signature, 'base64');
  // Node's decoder skips what is not base64: one signature has one text.
  if (signature.toString('base64') !== statement.signature) return 'forged';
  const bytes = attestedBytes(statement.purpose, statement.text);
  return (await verify('sha256', bytes, key, signature)) ? 'good' : 'forged';
}

function below(roots: readonly X509Certificate[], certificates: readonly X509Certificate[]): X509Certificate[] {
  return certificates.filter((one) => roots.some((root) => isIntermediateOf(root, one)));
}

function keysOf(certificates: readonly X509Certificate[]): Attesters {
  return new Map(certificates.map(({ publicKey }) => [pinOfSpki(spkiOf(publicKey)), publicKey]));
}

/** @throws FairleadError VALIDATION */
function readWhole(pem: string): X509Certificate {
  try {
    const certificate = readCertificate(pem);
    void certificate.publicKey;
    return certificate;
  } catch (cause) {
    throw new FairleadError('VALIDATION', 'a certificate is damaged', { cause });
  }
}
