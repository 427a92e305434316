/** The installation's certificate authority: made once, opened at every start, and the only thing that issues. */
import { createPrivateKey, createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto';
import type { Clock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';
import { AGENT_CERT_DAYS, CA_CERT_DAYS, SERVER_CERT_DAYS } from '../shared/limits.ts';
import { type Asn1, OID } from './asn1.ts';
import { attestedBytes } from './attestation.ts';
import { endorseRoot, isSignedBy } from './endorsement.ts';
import { caSubject, issueIntermediate } from './intermediate.ts';
import { type Issuer, issueBy, issuerOf, issueToItself, type Signed } from './issuer.ts';
import { agentUri, INTERNAL_SERVER_NAME, isUuid, operatorUri } from './names.ts';
import { generateP256, generateRsa, privateKeyPem, sign } from './native.ts';
import { readCertificate } from './pem.ts';
import { pinOfSpki, spkiOf } from './pin.ts';
import { acceptKey } from './spki.ts';
import { hostNames, uriName } from './subject-alt-names.ts';
import { caExtensions, distinguishedName, leafExtensions } from './template.ts';
import { pathLength, subjectKeyIdentifier } from './x509-fields.ts';

export const CA_KEY_BITS = 4096;
const DAY_SECONDS = 24 * 60 * 60;
const DAY_MS = DAY_SECONDS * 1000;

/** A CA's certificate and private key. `keyPem` is PKCS #8 and lives in memory only: at rest it is sealed. */
export interface CaMaterial {
  readonly certPem: string;
  readonly keyPem: string;
  /** The root that issued the certificate; absent: it is a root itself. */
  readonly rootPem?: string | undefined;
}

export interface IssuedCert extends Signed {
  /** The certificate, and behind it the intermediate that issued it if there is one. */
  readonly certPem: string;
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
  /** The root that clients trust: the CA itself, unless it is an intermediate. */
  readonly rootPem: string;
  /** The pin of the root's key. */
  readonly fingerprint: string;
  /** Whether the root's key is elsewhere. */
  readonly isIntermediate: boolean;
  /** The pin of the key that issues and attests: the root's, or that of the intermediate below it. */
  readonly keyPin: string;
  /** Names the CA's key in what it issues. */
  readonly keyIdentifier: Buffer;
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
  /**
   * This root's word, for so many days, that another root is to be trusted as well.
   * @throws FairleadError VALIDATION if it is no root itself, CERT_EXPIRED
   */
  endorse(request: { readonly root: X509Certificate; readonly days: number; readonly clock: Clock }): Promise<string>;
  /**
   * An intermediate of an installation below this root.
   * @throws FairleadError VALIDATION if it is no root that allows one, CERT_EXPIRED
   */
  issueIntermediate(request: IntermediateRequest): Promise<Signed>;
}

export interface IntermediateRequest {
  /** SubjectPublicKeyInfo in DER, from `readCaRequest`. */
  readonly spki: Buffer;
  readonly installationId: string;
  /** At most; never beyond the root's own life. */
  readonly days: number;
  readonly clock: Clock;
}

/**
 * Makes a CA for an installation: RSA-4096, 10 years. Takes seconds of another thread's time.
 * @param options.bits the size of its key, for tests
 */
export async function createCa(options: { installationId: string; clock: Clock; bits?: number }): Promise<CaMaterial> {
  checkId(options.installationId);
  return await createRoot({ ...options, subject: caSubject(options.installationId), pathLength: 0 });
}

/**
 * Makes a root for a machine without a network, below which intermediates may stand: RSA-4096, 10 years.
 * @param options.bits the size of its key, for tests
 */
export async function createOfflineRoot(options: { clock: Clock; bits?: number }): Promise<CaMaterial> {
  const subject = distinguishedName([
    [OID.organizationName, 'Fairlead'],
    [OID.commonName, 'Fairlead offline root'],
  ]);
  return await createRoot({ ...options, subject, pathLength: 1 });
}

async function createRoot(o: { subject: Buffer; pathLength: 0 | 1; clock: Clock; bits?: number }): Promise<CaMaterial> {
  const { privateKey, publicKey } = await generateRsa(o.bits ?? CA_KEY_BITS);
  const spki = spkiOf(publicKey);
  const extensions = caExtensions({ spki, pathLength: o.pathLength });
  const root = await issueToItself(privateKey, { ...o, spki, days: CA_CERT_DAYS, extensions });
  return { certPem: root.certPem, keyPem: privateKeyPem(privateKey) };
}

/**
 * Opens a CA for issuing.
 * @throws FairleadError VALIDATION if the certificate is not a CA's, the key is not its, or the root did not issue it
 */
export function openCa(material: CaMaterial): Ca {
  const { certPem, rootPem } = material;
  const x509 = readCertificate(certPem);
  const root = rootPem === undefined ? x509 : readCertificate(rootPem);
  const key = loadKey(material.keyPem);
  const spki = spkiOf(x509.publicKey);
  if (!x509.ca || !root.ca) throw new FairleadError('VALIDATION', 'the certificate of the CA is not that of a CA');
  if (!spkiOf(createPublicKey(key)).equals(spki)) {
    throw new FairleadError('VALIDATION', "the CA's key does not belong to its certificate");
  }
  if (rootPem !== undefined && !isSignedBy(x509, root)) {
    throw new FairleadError('VALIDATION', 'the intermediate CA was not issued by its root');
  }
  const own: Own = { issuer: issuerOf(x509, key), pin: pinOfSpki(spki), chain: rootPem === undefined ? '' : certPem };
  const isRoot = rootPem === undefined;
  return {
    certPem,
    rootPem: rootPem ?? certPem,
    fingerprint: pinOfSpki(spkiOf(root.publicKey)),
    isIntermediate: !isRoot,
    keyPin: own.pin,
    keyIdentifier: subjectKeyIdentifier(x509),
    subject: x509.subject.split('\n').join(', '),
    notBefore: x509.validFromDate,
    notAfter: x509.validToDate,
    issueOperator: (request) => issueOperator(own, request),
    attest: async (purpose, text) => await sign('sha256', attestedBytes(purpose, text), own.issuer.key),
    issueAgent: (request) => issueAgent(own, request),
    issueServer: (request) => issueServer(own, request),
    endorse: async (request) => {
      if (!isRoot) throw new FairleadError('VALIDATION', 'only a root can endorse another root, and this is none');
      return await endorseRoot(own.issuer, request);
    },
    issueIntermediate: async (request) => {
      if (!isRoot || pathLength(x509) !== 1) {
        throw new FairleadError('VALIDATION', 'this is no offline root: no CA can stand below it');
      }
      return await issueIntermediate(own.issuer, request);
    },
  };
}

/** What issuing leaves takes of a CA. */
interface Own {
  readonly issuer: Issuer;
  readonly pin: string;
  /** What stands behind each leaf so that its way to the root can be found: the intermediate, or nothing. */
  readonly chain: string;
}

async function issueAgent(own: Own, request: AgentRequest): Promise<IssuedCert> {
  checkId(request.installationId);
  checkId(request.hostId);
  acceptKey(request.spki);
  if (pinOfSpki(request.spki) === own.pin) throw new FairleadError('CSR_INVALID', "the key is the CA's own");
  return issueLeaf(own, {
    spki: request.spki,
    commonName: request.hostId,
    days: request.lifeMs === undefined ? AGENT_CERT_DAYS : request.lifeMs / DAY_MS,
    clock: request.clock,
    extensions: leafExtensions({
      spki: request.spki,
      purpose: OID.clientAuth,
      names: [uriName(agentUri(request.installationId, request.hostId))],
      issuerKeyIdentifier: own.issuer.keyIdentifier,
    }),
  });
}

async function issueOperator(own: Own, request: OperatorRequest): Promise<IssuedCert> {
  checkId(request.installationId);
  checkId(request.operatorId);
  acceptKey(request.spki);
  if (pinOfSpki(request.spki) === own.pin) throw new FairleadError('CSR_INVALID', "the key is the CA's own");
  return issueLeaf(own, {
    spki: request.spki,
    commonName: request.operatorId,
    days: request.lifeSeconds / DAY_SECONDS,
    clock: request.clock,
    extensions: leafExtensions({
      spki: request.spki,
      purpose: OID.clientAuth,
      names: [uriName(operatorUri(request.installationId, request.operatorId))],
      issuerKeyIdentifier: own.issuer.keyIdentifier,
    }),
  });
}

async function issueServer(own: Own, request: ServerRequest): Promise<IssuedCert & { readonly keyPem: string }> {
  const names = hostNames([INTERNAL_SERVER_NAME, ...request.publicHosts]);
  const { privateKey, publicKey } = await generateP256();
  const spki = spkiOf(publicKey);
  const issuerKeyIdentifier = own.issuer.keyIdentifier;
  const issued = await issueLeaf(own, {
    spki,
    commonName: INTERNAL_SERVER_NAME,
    days: SERVER_CERT_DAYS,
    clock: request.clock,
    extensions: leafExtensions({ spki, purpose: OID.serverAuth, names, issuerKeyIdentifier }),
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

async function issueLeaf(own: Own, { commonName, ...leaf }: Leaf): Promise<IssuedCert> {
  const subject = distinguishedName([[OID.commonName, commonName]]);
  const issued = await issueBy(own.issuer, { ...leaf, subject });
  return { ...issued, certPem: issued.certPem + own.chain, spkiPin: pinOfSpki(leaf.spki) };
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
