/** Fields of certificates that node:crypto does not show, read from their DER (RFC 5280 4.1 and 4.2). */
import type { X509Certificate } from 'node:crypto';
import { FairleadError } from '../shared/errors.ts';
import { OID } from './asn1.ts';
import { children, contentOf, type Element, oidOf, readDer, TAG } from './der.ts';

/** The identifier octet of the extensions: [3], constructed. */
const EXTENSIONS = 0xa3;
/** That of the key identifier in an authority key identifier: [0]. */
const KEY_IDENTIFIER = 0x80;

/** The subject as it stands in the certificate, byte for byte: a Name in DER. */
export function subjectName(x509: X509Certificate): Buffer {
  const subject = fieldsOf(x509)[5];
  contentOf(subject, TAG.sequence);
  return Buffer.from(subject?.raw ?? []);
}

/** @throws FairleadError VALIDATION if the certificate has none */
export function subjectKeyIdentifier(x509: X509Certificate): Buffer {
  const value = extensionOf(x509, OID.subjectKeyIdentifier);
  if (value === undefined) throw new FairleadError('VALIDATION', 'the certificate has no subject key identifier');
  return Buffer.from(contentOf(value, TAG.octetString));
}

/** The key identifier of the CA that issued the certificate, or undefined if it does not say. */
export function authorityKeyIdentifier(x509: X509Certificate): Buffer | undefined {
  const value = extensionOf(x509, OID.authorityKeyIdentifier);
  if (value === undefined) return undefined;
  const [first] = children(value, TAG.sequence);
  return first?.tag === KEY_IDENTIFIER ? Buffer.from(first.content) : undefined;
}

/** How many CAs may stand below a CA in a chain; Infinity if it does not say, undefined if it is no CA. */
export function pathLength(x509: X509Certificate): number | undefined {
  const value = extensionOf(x509, OID.basicConstraints);
  if (value === undefined) return undefined;
  const [isCa, length] = children(value, TAG.sequence);
  if (isCa?.tag !== TAG.boolean || isCa.content[0] !== 0xff) return undefined;
  if (length === undefined) return Number.POSITIVE_INFINITY;
  const octets = contentOf(length, TAG.integer);
  return octets.length === 1 && (octets[0] ?? 0x80) < 0x80 ? octets[0] : undefined;
}

function fieldsOf(x509: X509Certificate): Element[] {
  const [tbs] = children(readDer(x509.raw), TAG.sequence);
  return children(tbs, TAG.sequence);
}

function extensionOf(x509: X509Certificate, id: string): Element | undefined {
  const last = fieldsOf(x509).at(-1);
  if (last?.tag !== EXTENSIONS) return undefined;
  const [list] = children(last, EXTENSIONS);
  for (const extension of children(list, TAG.sequence)) {
    const parts = children(extension, TAG.sequence);
    if (oidOf(parts[0]) === id) return readDer(contentOf(parts.at(-1), TAG.octetString));
  }
  return undefined;
}
