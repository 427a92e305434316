/**
 * The forms a certificate can have (RFC 5280): a root, an intermediate below one, an endorsement of a root by another, a
 * client (agent or operator), the server. Nothing else is ever issued.
 */
import { createHash } from 'node:crypto';
import {
  type Asn1,
  bitString,
  bool,
  encode,
  explicit,
  integer,
  nothing,
  OID,
  octetString,
  oid,
  sequence,
  set,
  spliced,
  tagged,
  time,
  utf8String,
} from './asn1.ts';
import { bitStringOf, children, readDer, TAG } from './der.ts';
import type { GeneralName } from './subject-alt-names.ts';

/** KeyUsage bits, RFC 5280 4.2.1.3: digitalSignature is bit 0, keyCertSign 5, cRLSign 6. */
const DIGITAL_SIGNATURE = { bits: 0b1000_0000, unused: 7 };
const CERT_AND_CRL_SIGN = { bits: 0b0000_0110, unused: 1 };

/** What varies between certificates. */
export interface Template {
  /** In its normal form. */
  readonly serial: string;
  /** A Name in DER. */
  readonly issuer: Buffer;
  /** A Name in DER. */
  readonly subject: Buffer;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SubjectPublicKeyInfo in DER. */
  readonly spki: Buffer;
  readonly extensions: readonly Asn1[];
}

/** The Name of one attribute per part, in DER. Values are ASCII. */
export function distinguishedName(attributes: readonly (readonly [string, string])[]): Buffer {
  return encode(sequence(...attributes.map(([type, value]) => set(sequence(oid(type), utf8String(value))))));
}

/** RFC 5280 4.2.1.2 method 1, which names keys and protects nothing: the SHA-1 of the key's bits. */
export function keyIdentifier(spki: Buffer): Buffer {
  const [, bits] = children(readDer(spki), TAG.sequence);
  return createHash('sha1').update(bitStringOf(bits)).digest();
}

function extension(id: string, critical: boolean, value: Asn1): Asn1 {
  const wrapped = octetString(encode(value));
  return critical ? sequence(oid(id), bool(true), wrapped) : sequence(oid(id), wrapped);
}

function keyUsage(usage: { bits: number; unused: number }): Asn1 {
  return extension(OID.keyUsage, true, bitString(Buffer.of(usage.bits), usage.unused));
}

function subjectKeyIdentifier(spki: Buffer): Asn1 {
  return extension(OID.subjectKeyIdentifier, false, octetString(keyIdentifier(spki)));
}

function authorityKeyIdentifier(issuerKeyIdentifier: Buffer): Asn1 {
  return extension(OID.authorityKeyIdentifier, false, sequence(tagged(0, issuerKeyIdentifier)));
}

/** A CA below which `pathLength` further CAs may stand. One that another CA issued names that one's key. */
export function caExtensions(o: { spki: Buffer; pathLength: 0 | 1; issuerKeyIdentifier?: Buffer }): Asn1[] {
  return [
    extension(OID.basicConstraints, true, sequence(bool(true), integer(Buffer.of(o.pathLength)))),
    keyUsage(CERT_AND_CRL_SIGN),
    subjectKeyIdentifier(o.spki),
    ...(o.issuerKeyIdentifier === undefined ? [] : [authorityKeyIdentifier(o.issuerKeyIdentifier)]),
  ];
}

/** A CA by its form, whose one purpose is of no use to TLS: no chain can go through it. */
export function endorsementExtensions(o: { spki: Buffer; issuerKeyIdentifier: Buffer }): Asn1[] {
  return [...caExtensions({ ...o, pathLength: 0 }), extension(OID.extKeyUsage, true, sequence(oid(OID.endorsement)))];
}

/** A leaf with exactly one purpose; without one it would pass as both ends of a connection. */
export function leafExtensions(o: {
  spki: Buffer;
  purpose: typeof OID.clientAuth | typeof OID.serverAuth;
  names: readonly GeneralName[];
  issuerKeyIdentifier: Buffer;
}): Asn1[] {
  return [
    extension(OID.basicConstraints, true, sequence()),
    keyUsage(DIGITAL_SIGNATURE),
    extension(OID.extKeyUsage, false, sequence(oid(o.purpose))),
    extension(OID.subjectAltName, false, sequence(...o.names.map((name) => tagged(name.tag, name.bytes)))),
    subjectKeyIdentifier(o.spki),
    authorityKeyIdentifier(o.issuerKeyIdentifier),
  ];
}

/** The part of a certificate that is signed. */
export function toBeSigned(template: Template): Buffer {
  return encode(
    sequence(
      explicit(0, integer(Buffer.of(2))),
      integer(Buffer.from(template.serial, 'hex')),
      sha256WithRsa(),
      spliced(template.issuer),
      sequence(time(template.notBefore), time(template.notAfter)),
      spliced(template.subject),
      spliced(template.spki),
      explicit(3, sequence(...template.extensions)),
    ),
  );
}

/** A certificate of its signed part and the CA's signature over it, in DER. */
export function certificate(tbs: Buffer, signature: Buffer): Buffer {
  return encode(sequence(spliced(tbs), sha256WithRsa(), bitString(signature)));
}

function sha256WithRsa(): Asn1 {
  return sequence(oid(OID.sha256WithRsa), nothing());
}
