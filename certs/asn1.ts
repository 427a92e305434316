/** Builds ASN.1 with node-forge, and nothing but builds: keys, signatures and verification are node:crypto's. */
import forge from 'node-forge';

const { asn1 } = forge;
const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class;

export type Asn1 = forge.asn1.Asn1;

/** The object identifiers that are written or read here, by their names in the RFCs. */
export const OID = {
  commonName: '2.5.4.3',
  organizationName: '2.5.4.10',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  rsaEncryption: '1.2.840.113549.1.1.1',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  sha384WithRsa: '1.2.840.113549.1.1.12',
  sha512WithRsa: '1.2.840.113549.1.1.13',
  ecPublicKey: '1.2.840.10045.2.1',
  prime256v1: '1.2.840.10045.3.1.7',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecdsaWithSha384: '1.2.840.10045.4.3.3',
  ecdsaWithSha512: '1.2.840.10045.4.3.4',
  /** Our own: the one purpose of a certificate by which a root says that it trusts another one. X.667: 2.25 and a UUID. */
  endorsement: '2.25.241840471340058216553957356389810343511',
} as const;

/** forge holds bytes as strings of characters 0 to 255. */
function characters(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

export function sequence(...parts: Asn1[]): Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.SEQUENCE, true, parts);
}

export function set(...parts: Asn1[]): Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.SET, true, parts);
}

/** X.690 8.19. The numbers may be larger than forge's own function takes. */
export function oid(dotted: string): Asn1 {
  const [first = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt);
  const bytes = [first * 40n + second, ...rest].flatMap(base128);
  return asn1.create(UNIVERSAL, asn1.Type.OID, false, characters(Buffer.from(bytes)));
}

function base128(number: bigint): number[] {
  const digits = [Number(number & 0x7fn)];
  for (let left = number >> 7n; left > 0n; left >>= 7n) digits.unshift(Number(left & 0x7fn) | 0x80);
  return digits;
}

export function nothing(): Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.NULL, false, '');
}

export function bool(value: boolean): Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.BOOLEAN, false, value ? '\u00ff' : '\u0000');
}

/** A non-negative integer, big-endian, as short as it can be. */
export function integer(bytes: Uint8Array): Asn1 {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const positive = (bytes[start] ?? 0) < 0x80 ? '' : '\u0000';
  return asn1.create(UNIVERSAL, asn1.Type.INTEGER, false, positive + characters(bytes.subarray(start)));
}

export function octetString(bytes: Uint8Array): Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.OCTETSTRING, false, characters(bytes));
}

/** A bit string whose last byte has `unused` bits without meaning. */
export function bitString(bytes: Uint8Array, unused = 0): Asn1 {
  return asn1.create(UNIVERSAL, asn1.Type.BITSTRING, false, String.fromCharCode(unused) + characters(bytes));
}

/** A string of ASCII, which is all that subjects hold here: forge would mangle anything else. */
export function utf8String(text: string): Asn1 {
  if (!/^[\x20-\x7e]*$/.test(text)) throw new Error('names in certificates are ASCII');
  return asn1.create(UNIVERSAL, asn1.Type.UTF8, false, text);
}

/** An implicitly tagged primitive element, such as a general name. */
export function tagged(number: number, bytes: Uint8Array): Asn1 {
  return asn1.create(CONTEXT_SPECIFIC, number, false, characters(bytes));
}

/** An explicitly tagged element, or an implicitly tagged SET or SEQUENCE of `parts`. */
export function explicit(number: number, ...parts: Asn1[]): Asn1 {
  return asn1.create(CONTEXT_SPECIFIC, number, true, parts);
}

/** A moment in whole seconds. RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050. */
export function time(date: Date): Asn1 {
  if (date.getUTCFullYear() < 2050) return asn1.create(UNIVERSAL, asn1.Type.UTCTIME, false, asn1.dateToUtcTime(date));
  return asn1.create(UNIVERSAL, asn1.Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date));
}

/** Finished DER as a part of something larger, byte for byte. It must be shallow: forge reads recursively. */
export function spliced(der: Uint8Array): Asn1 {
  const element = asn1.fromDer(characters(der));
  if (!encode(element).equals(der)) throw new Error('these bytes cannot be carried over unchanged');
  return element;
}

export function encode(element: Asn1): Buffer {
  return Buffer.from(asn1.toDer(element).getBytes(), 'latin1');
}
