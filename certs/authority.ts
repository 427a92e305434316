/** The installation's certificate authority: made once, opened at every start, and the only thing that issues. */
import { createPrivateKey, createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto';
import type { Clock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';
import { AGENT_CERT_DAYS, CA_CERT_DAYS, CERT_BACKDATE_MS, SERVER_CERT_DAYS } from '../shared/limits.ts';
import { type Asn1, OID } from './asn1.ts';
import { attestedBytes } from './attestation.ts';
import { children, contentOf, type Element, oidOf, readDer, TAG } from './der.ts';
import { agentUri, INTERNAL_SERVER_NAME, isUuid, operatorUri } from './names.ts';
import { generateP256, generateRsa, privateKeyPem, sign } from './native.ts';
import { encodePem, readCertificate } from './pem.ts';
import { pinOfSpki, spkiOf } from './pin.ts';
import { newSerial } from './serial.ts';
import { acceptKey } from './spki.ts';
import { hostNames, uriName } from './subject-alt-names.ts';
import { caExtensions, certificate, distinguishedName, leafExtensions, toBeSigned } from './template.ts';

const CA_KEY_BITS = 4096;
const DAY_SECONDS = 24 * 60 * 60;
const DAY_MS = DAY_SECONDS * 1000;

/** A CA's certificate and private key. `keyPem` is PKCS #8 and lives in memory only: at rest it is sealed. */
export interface CaMaterial {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface IssuedCert {
  readonly certPem: string;
  /** In the form of `normalizeSerial`. */
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly spkiPin: string;
}

export interface AgentRequest {
  /** SubjectPublicKeyInfo in DER, from `readCsr`. */
  readonly spki: Buffer;
  readonly hostId: string;
  readonly installationId: string;
  readonly clock: Clock;
  /** How long the certificate lives, in ms; 30 days unless given. */
  readonly lifeMs?: number;
}

export interface OperatorRequest {
  /** SubjectPublicKeyInfo in DER, from `readCsr`. */
  readonly spki: Buffer;
  readonly operatorId: string;
  readonly installationId: string;
  readonly lifeSeconds: number;
  readonly clock: Clock;
}

export interface ServerRequest {
  /** DNS names and IP addresses under which the server is reached, besides its internal name. */
  readonly publicHosts: readonly string[];
  readonly clock: Clock;
}

/** A CA whose key is in memory. Signatures are made in the thread pool. */
export interface Ca {
  readonly certPem: string;
  /** The pin of the CA's key. */
  readonly fingerprint: string;
  readonly subject: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /**
   * A certificate by which an agent is a client, for 30 days unless the request says otherwise.
   * @throws FairleadError CSR_INVALID if the key is not acceptable or the CA's own, CERT_EXPIRED if the CA has expired
   */
  issueAgent(request: AgentRequest): Promise<IssuedCert>;
  /**
   * A certificate by which a person or a program is a client of the API.
   * @throws FairleadError as `issueAgent`
   */
  issueOperator(request: OperatorRequest): Promise<IssuedCert>;
  /**
   * A new P-256 key with a certificate by which it is the server, for 90 days.
   * @throws FairleadError VALIDATION if a public host is not a name or an address, CERT_EXPIRED if the CA has expired
   */
  issueServer(request: ServerRequest): Promise<IssuedCert & { readonly keyPem: string }>;
  /** Signs `text` for `purpose` alone; `checkAttestation` checks it. @returns the signature */
  attest(purpose: string, text: string): Promise<Buffer>;
}

/**
 * Makes a CA for an installation: RSA-4096, 10 years. Takes seconds of another thread's time.
 * @param options.bits the size of its key, for tests
 */
export async function createCa(options: { installationId: string; clock: Clock; bits?: number }): Promise<CaMaterial> {
  checkId(options.installationId);
  const { privateKey, publicKey } = await generateRsa(options.bits ?? CA_KEY_BITS);
  const spki = spkiOf(publicKey);
  const subject = distinguishedName([
    [OID.organizationName, 'Fairlead'],
    [OID.commonName, caName(options.installationId)],
  ]);
  const validity = validityFrom(options.clock, CA_CERT_DAYS);
  const tbs = toBeSigned({
    serial: newSerial(),
    issuer: subject,
    subject,
    ...validity,
    spki,
    extensions: caExtensions(spki),
  });
  const der = certificate(tbs, await sign('sha256', tbs, privateKey));
  return { certPem: encodePem('CERTIFICATE', der), keyPem: privateKeyPem(privateKey) };
}

/** The common name of an installation's CA. */
export function caName(installationId: string): string {
  return `Fairlead CA ${installationId}`;
}

/**
 * Opens a CA for issuing.
 * @throws FairleadError VALIDATION if the certificate is not a CA's, or the key is not its
 */
export function openCa(material: CaMaterial): Ca {
  const x509 = readCertificate(material.certPem);
  const spki = spkiOf(x509.publicKey);
  const key = loadKey(material.keyPem);
  if (!x509.ca) throw new FairleadError('VALIDATION', 'the certificate of the CA is not that of a CA');
  if (!spkiOf(createPublicKey(key)).equals(spki)) {
    throw new FairleadError('VALIDATION', "the CA's key does not belong to its certificate");
  }
  const issuer: Issuer = { key, ...issuerFields(x509), notAfter: x509.validToDate };
  const fingerprint = pinOfSpki(spki);
  return {
    certPem: material.certPem,
    fingerprint,
    subject: x509.subject.split('\n').join(', '),
    notBefore: x509.validFromDate,
    notAfter: x509.validToDate,
    issueAgent: (request) => issueAgent(issuer, fingerprint, request),
    issueOperator: (request) => issueOperator(issuer, fingerprint, request),
    issueServer: (request) => issueServer(issuer, request),
    attest: async (purpose, text) => await sign('sha256', attestedBytes(purpose, text), key),
  };
}

/** What signing takes of a CA. */
interface Issuer {
  readonly key: KeyObject;
  /** The CA's Name in DER. */
  readonly name: Buffer;
  readonly keyIdentifier: Buffer;
  readonly notAfter: Date;
}

async function issueAgent(issuer: Issuer, caPin: string, request: AgentRequest): Promise<IssuedCert> {
  checkId(request.installationId);
  checkId(request.hostId);
  acceptKey(request.spki);
  if (pinOfSpki(request.spki) === caPin) throw new FairleadError('CSR_INVALID', "the key is the CA's own");
  return issue(issuer, {
    spki: request.spki,
    commonName: request.hostId,
    days: request.lifeMs === undefined ? AGENT_CERT_DAYS : request.lifeMs / DAY_MS,
    clock: request.clock,
    extensions: leafExtensions({
      spki: request.spki,
      purpose: OID.clientAuth,
      names: [uriName(agentUri(request.installationId, request.hostId))],
      issuerKeyIdentifier: issuer.keyIdentifier,
    }),
  });
}

async function issueOperator(issuer: Issuer, caPin: string, request: OperatorRequest): Promise<IssuedCert> {
  checkId(request.installationId);
  checkId(request.operatorId);
  acceptKey(request.spki);
  if (pinOfSpki(request.spki) === caPin) throw new FairleadError('CSR_INVALID', "the key is the CA's own");
  return issue(issuer, {
    spki: request.spki,
    commonName: request.operatorId,
    days: request.lifeSeconds / DAY_SECONDS,
    clock: request.clock,
    extensions: leafExtensions({
      spki: request.spki,
      purpose: OID.clientAuth,
      names: [uriName(operatorUri(request.installationId, request.operatorId))],
      issuerKeyIdentifier: issuer.keyIdentifier,
    }),
  });
}

async function issueServer(issuer: Issuer, request: ServerRequest): Promise<IssuedCert & { readonly keyPem: string }> {
  const names = hostNames([INTERNAL_SERVER_NAME, ...request.publicHosts]);
  const { privateKey, publicKey } = await generateP256();
  const spki = spkiOf(publicKey);
  const issued = await issue(issuer, {
    spki,
    commonName: INTERNAL_SERVER_NAME,
    days: SERVER_CERT_DAYS,
    clock: request.clock,
    extensions: leafExtensions({ spki, purpose: OID.serverAuth, names, issuerKeyIdentifier: issuer.keyIdentifier }),
  });
  return { ...issued, keyPem: privateKeyPem(privateKey) };
}

interface Leaf {
  readonly spki: Buffer;
  readonly commonName: string;
  readonly days: number;
  readonly clock: Clock;
  readonly extensions: readonly Asn1[];
}

async function issue(issuer: Issuer, leaf: Leaf): Promise<IssuedCert> {
  const { notBefore, notAfter } = validityFrom(leaf.clock, leaf.days, issuer.notAfter);
  const serial = newSerial();
  const subject = distinguishedName([[OID.commonName, leaf.commonName]]);
  const { spki, extensions } = leaf;
  const tbs = toBeSigned({ serial, issuer: issuer.name, subject, notBefore, notAfter, spki, extensions });
  const der = certificate(tbs, await sign('sha256', tbs, issuer.key));
  return { certPem: encodePem('CERTIFICATE', der), serial, notBefore, notAfter, spkiPin: pinOfSpki(spki) };
}

/** From 5 minutes back, in whole seconds as certificates hold them, and never beyond `limit`. */
function validityFrom(clock: Clock, days: number, limit?: Date): { notBefore: Date; notAfter: Date } {
  const now = Math.floor(clock.now() / 1000) * 1000;
  if (limit !== undefined && limit.getTime() <= now) {
    throw new FairleadError(
      'CERT_EXPIRED',
      `the CA expired on ${limit.toISOString()} and can no longer issue certificates`,
    );
  }
  const end = now + Math.round(days * DAY_MS);
  return {
    notBefore: new Date(now - CERT_BACKDATE_MS),
    notAfter: new Date(limit === undefined ? end : Math.min(end, limit.getTime())),
  };
}

function checkId(id: string): void {
  if (!isUuid(id))
    throw new FairleadError('VALIDATION', 'hosts, operators and installations are named by UUIDs in lower case');
}

function loadKey(keyPem: string): KeyObject {
  try {
    return createPrivateKey(keyPem);
  } catch (cause) {
    throw new FairleadError('VALIDATION', "the CA's key is damaged", { cause });
  }
}

/** The fields of a CA's certificate that stand in what it issues, byte for byte (RFC 5280 4.1). */
function issuerFields(x509: X509Certificate): { name: Buffer; keyIdentifier: Buffer } {
  const [tbs] = children(readDer(x509.raw), TAG.sequence);
  const fields = children(tbs, TAG.sequence);
  const subject = fields[5];
  contentOf(subject, TAG.sequence);
  return { name: Buffer.from(subject?.raw ?? []), keyIdentifier: subjectKeyIdentifierOf(fields.at(-1)) };
}

function subjectKeyIdentifierOf(extensions: Element | undefined): Buffer {
  const [list] = children(extensions, 0xa3);
  for (const extension of children(list, TAG.sequence)) {
    const parts = children(extension, TAG.sequence);
    if (oidOf(parts[0]) !== OID.subjectKeyIdentifier) continue;
    return Buffer.from(contentOf(readDer(contentOf(parts.at(-1), TAG.octetString)), TAG.octetString));
  }
  throw new FairleadError('VALIDATION', 'the certificate of the CA has no subject key identifier');
}
