/** Which public keys a certificate may hold: P-256, and RSA of 2048 to 4096 bits with e = 65537. Nothing else. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { FairleadError } from '../shared/errors.ts';
import { OID } from './asn1.ts';
import { bitStringOf, children, contentOf, type Element, oidOf, readDer, TAG } from './der.ts';

export type KeyType = 'ec-p256' | 'rsa';

const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;
const RSA_EXPONENT = 65537n;
/** An uncompressed point: 0x04, x, y. */
const P256_POINT_BYTES = 65;

/** A public key that may stand in a certificate. */
export interface AcceptedKey {
  readonly type: KeyType;
  readonly key: KeyObject;
}

function refused(why: string, cause?: unknown): FairleadError {
  return new FairleadError('CSR_INVALID', why, { cause });
}

/**
 * The key in a SubjectPublicKeyInfo, judged from its bytes before any arithmetic is done with it.
 * @throws FairleadError CSR_INVALID that says why the key is refused, VALIDATION if the bytes are not DER
 */
export function acceptKey(spki: Buffer): AcceptedKey {
  const [algorithm, bits] = pair(readDer(spki));
  const oid = oidOf(children(algorithm, TAG.sequence)[0]);
  if (oid === OID.ecPublicKey) checkP256(pair(algorithm)[1], bitStringOf(bits));
  else if (oid === OID.rsaEncryption) checkRsa(pair(algorithm)[1], bitStringOf(bits));
  else throw refused('the key is of a type that is not accepted; use ECDSA P-256 or RSA');
  return { type: oid === OID.rsaEncryption ? 'rsa' : 'ec-p256', key: load(spki) };
}

/** The two parts of a SEQUENCE that must have two. */
function pair(element: Element): [Element, Element] {
  const [first, second, ...excess] = children(element, TAG.sequence);
  if (first === undefined || second === undefined || excess.length > 0) {
    throw refused('the key is malformed: it has a part too few or too many');
  }
  return [first, second];
}

function load(spki: Buffer): KeyObject {
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch (cause) {
    throw refused('the key is not a valid one of its type', cause);
  }
}

/** RFC 5480 2.1.1: the curve by its name, never by explicit parameters. */
function checkP256(curve: Element, point: Buffer): void {
  if (curve.tag !== TAG.oid || oidOf(curve) !== OID.prime256v1) {
    throw refused('the key is on a curve that is not accepted; use P-256');
  }
  if (point.length !== P256_POINT_BYTES || point[0] !== 4) {
    throw refused('the key is not an uncompressed point of P-256');
  }
}

/** RFC 3279 2.3.1 and RFC 8017 A.1.1. */
function checkRsa(parameters: Element, key: Buffer): void {
  contentOf(parameters, TAG.null);
  const parts = pair(readDer(key));
  const modulus = contentOf(parts[0], TAG.integer);
  const exponent = contentOf(parts[1], TAG.integer);
  const bits = bitLength(modulus);
  if (bits < MIN_RSA_BITS) throw refused(`the RSA key is too weak: it needs at least ${MIN_RSA_BITS} bits`);
  if (bits > MAX_RSA_BITS) throw refused(`the RSA key is too large: it may have at most ${MAX_RSA_BITS} bits`);
  if (((modulus.at(-1) ?? 0) & 1) === 0) throw refused('the RSA key is not valid: its modulus is even');
  if (exponent.length > 8 || BigInt(`0x${exponent.toString('hex')}`) !== RSA_EXPONENT) {
    throw refused(`the RSA key has an exponent that is not accepted; use ${RSA_EXPONENT}`);
  }
}

/** The bits of a DER integer; 0 if it is negative. */
function bitLength(integer: Buffer): number {
  const digits = integer[0] === 0 ? integer.subarray(1) : integer;
  const first = digits[0];
  if (first === undefined || (integer[0] ?? 0) >= 0x80) return 0;
  return (digits.length - 1) * 8 + (32 - Math.clz32(first));
}
