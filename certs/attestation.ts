/** Statements that the CA's key signs besides certificates: each for one purpose, which its bytes begin with. */
import { type KeyObject, X509Certificate } from 'node:crypto';
import { FairleadError } from '../shared/errors.ts';
import { verify } from './native.ts';
import { pinOfSpki, spkiOf } from './pin.ts';

const PURPOSE = /^[a-z0-9-]{1,64}$/;
const MAX_CERTIFICATES = 64;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** What is signed for `text`. It begins with letters, so that it can be no certificate, and names its purpose. */
export function attestedBytes(purpose: string, text: string): Buffer {
  if (!PURPOSE.test(purpose)) throw new Error(`${purpose} is no purpose of a signature`);
  return Buffer.from(`fairlead-${purpose}\n${text}`, 'utf8');
}

/** Keys whose statements count, by their pins. */
export type Attesters = ReadonlyMap<string, KeyObject>;

/**
 * The keys of the CAs in `pem`, one certificate or several.
 * @param isTrusted says by its pin whether a CA counts by itself; others do only if one that counts has signed them
 * @throws FairleadError VALIDATION if there is no certificate, too many, or one that is damaged
 */
export function attesters(pem: string, isTrusted: (pin: string) => boolean = () => true): Attesters {
  const blocks = pem.match(CERTIFICATE) ?? [];
  if (blocks.length === 0) throw new FairleadError('VALIDATION', 'there is no certificate in PEM form');
  if (blocks.length > MAX_CERTIFICATES) {
    throw new FairleadError('VALIDATION', `there are more than ${MAX_CERTIFICATES} certificates`);
  }
  let left = blocks.map(readOne).filter(({ ca }) => ca);
  const found = new Map<string, KeyObject>();
  for (let more = true; more; ) {
    const counts = (x509: X509Certificate) =>
      isTrusted(pinOf(x509)) || [...found.values()].some((key) => x509.verify(key));
    const next = left.filter(counts);
    for (const { publicKey } of next) found.set(pinOfSpki(spkiOf(publicKey)), publicKey);
    left = left.filter((x509) => !next.includes(x509));
    more = next.length > 0;
  }
  return found;
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

function pinOf({ publicKey }: X509Certificate): string {
  return pinOfSpki(spkiOf(publicKey));
}

function readOne(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new FairleadError('VALIDATION', 'a certificate is damaged', { cause });
  }
}
