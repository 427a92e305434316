/** Certificate requests (PKCS #10, RFC 2986): written by agents, and read as what they are, a stranger's bytes. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import { MAX_CSR_BYTES } from '../shared/limits.ts';
import { bitString, encode, explicit, integer, nothing, OID, oid, sequence, spliced } from './asn1.ts';
import { bitStringOf, children, contentOf, type Element, oidOf, readDer, TAG } from './der.ts';
import { type Digest, sign, verify } from './native.ts';
import { decodePem, encodePem } from './pem.ts';
import { pinOfSpki, spkiOf } from './pin.ts';
import { acceptKey, type KeyType } from './spki.ts';
import { distinguishedName } from './template.ts';

const LABEL = 'CERTIFICATE REQUEST';
/** The identifier octet of the attributes: [0], constructed. */
const ATTRIBUTES = 0xa0;

/** The signature algorithms that prove possession: SHA-1, MD5 and all others are refused by not standing here. */
const SIGNATURES: ReadonlyMap<string, { readonly type: KeyType; readonly digest: Digest }> = new Map([
  [OID.ecdsaWithSha256, { type: 'ec-p256', digest: 'sha256' }],
  [OID.ecdsaWithSha384, { type: 'ec-p256', digest: 'sha384' }],
  [OID.ecdsaWithSha512, { type: 'ec-p256', digest: 'sha512' }],
  [OID.sha256WithRsa, { type: 'rsa', digest: 'sha256' }],
  [OID.sha384WithRsa, { type: 'rsa', digest: 'sha384' }],
  [OID.sha512WithRsa, { type: 'rsa', digest: 'sha512' }],
]);

/** All that is taken from a request: the public key whose owner signed it. */
export interface CertificateRequest {
  /** SubjectPublicKeyInfo in DER. */
  readonly spki: Buffer;
  readonly spkiPin: string;
  readonly keyType: KeyType;
}

function refused(why: string, cause?: unknown): FairleadError {
  return new FairleadError('CSR_INVALID', why, { cause });
}

/** The parts of a request, by RFC 2986 section 4. */
interface Parts {
  /** The bytes that are signed. */
  readonly info: Buffer;
  readonly spki: Buffer;
  readonly algorithm: Element[];
  readonly signature: Buffer;
}

/**
 * Reads a request that anyone may have sent and verifies that its sender holds the key. The subject, the names,
 * extensions and attributes it asks for must be DER and are otherwise ignored.
 * @throws FairleadError CSR_INVALID with a sentence that says why
 */
export async function readCsr(pem: string): Promise<CertificateRequest> {
  if (Buffer.byteLength(pem) > MAX_CSR_BYTES) {
    throw refused(`the certificate request is too large: it may have at most ${MAX_CSR_BYTES} bytes`);
  }
  const der = decodePem(LABEL, pem);
  if (der === undefined) throw refused(`the certificate request is malformed: it is not one PEM block "${LABEL}"`);
  const { parts, key, type } = judge(der);
  const signature = SIGNATURES.get(oidOf(parts.algorithm[0]));
  if (signature === undefined) {
    throw refused('the certificate request is signed by an algorithm that is not accepted; use SHA-256');
  }
  if (signature.type !== type || !hasRightParameters(parts.algorithm, type)) {
    throw refused('the certificate request is badly signed: its algorithm does not fit its key');
  }
  if (!(await verify(signature.digest, parts.info, key, parts.signature))) {
    throw refused('the certificate request is badly signed: the signature is not by the key in it');
  }
  return { spki: parts.spki, spkiPin: pinOfSpki(parts.spki), keyType: type };
}

/** Everything that can be said about a request without arithmetic on its key. */
function judge(der: Buffer): { parts: Parts; key: KeyObject; type: KeyType } {
  try {
    const parts = takeApart(readDer(der));
    return { parts, ...acceptKey(parts.spki) };
  } catch (error) {
    if (!isFairleadError(error, 'VALIDATION')) throw error;
    throw refused(`the certificate request is malformed: ${error.message}`, error);
  }
}

function takeApart(root: Element): Parts {
  const [info, algorithm, signature, ...excess] = children(root, TAG.sequence);
  const [version, subject, spki, attributes, ...more] = children(info, TAG.sequence);
  contentOf(subject, TAG.sequence);
  contentOf(attributes, ATTRIBUTES);
  if (!contentOf(version, TAG.integer).equals(Buffer.of(0)) || excess.length > 0 || more.length > 0) {
    throw new FairleadError('VALIDATION', 'it is not a request of version 1');
  }
  contentOf(spki, TAG.sequence);
  const parts = children(algorithm, TAG.sequence);
  // Read here, so that an identifier that cannot be read counts as malformed.
  oidOf(parts[0]);
  return {
    info: info?.raw ?? Buffer.alloc(0),
    spki: Buffer.from(spki?.raw ?? []),
    algorithm: parts,
    signature: bitStringOf(signature),
  };
}

/** RFC 4055 section 5: NULL for RSA. RFC 5758 3.2: absent for ECDSA. */
function hasRightParameters(algorithm: Element[], type: KeyType): boolean {
  return type === 'rsa' ? algorithm.length === 2 && algorithm[1]?.tag === TAG.null : algorithm.length === 1;
}

/** The Name that a request which `readCsr` accepted asks for, in DER: a wish, no more. */
export function requestSubject(pem: string): Buffer {
  const [info] = children(readDer(decodePem(LABEL, pem) ?? Buffer.alloc(0)), TAG.sequence);
  const [, subject] = children(info, TAG.sequence);
  return Buffer.from(subject?.raw ?? []);
}

/**
 * A request for the public half of `privateKey`, signed by it. It names nothing: the server decides on every name.
 * @throws FairleadError VALIDATION if the key is neither P-256 nor RSA
 */
export async function createCsr(privateKey: KeyObject): Promise<string> {
  return await certificateRequest(privateKey, distinguishedName([[OID.commonName, 'fairlead-agent']]));
}

/**
 * A request with the Name `name`, in DER.
 * @throws FairleadError VALIDATION if the key is neither P-256 nor RSA
 */
export async function certificateRequest(privateKey: KeyObject, name: Buffer): Promise<string> {
  const type = privateKey.asymmetricKeyType;
  if (type !== 'ec' && type !== 'rsa') throw new FairleadError('VALIDATION', 'the key must be ECDSA P-256 or RSA');
  const spki = spliced(spkiOf(createPublicKey(privateKey)));
  const info = sequence(integer(Buffer.of(0)), spliced(name), spki, explicit(0));
  const algorithm = type === 'rsa' ? sequence(oid(OID.sha256WithRsa), nothing()) : sequence(oid(OID.ecdsaWithSha256));
  const signature = await sign('sha256', encode(info), privateKey);
  return encodePem(LABEL, encode(sequence(info, algorithm, bitString(signature))));
}
