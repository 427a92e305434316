/** What the tests of certs share: a small CA, requests that break one rule each, and the openssl program. */
import { execFile } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { promisify } from 'node:util';
import {
  type Asn1,
  bitString,
  encode,
  explicit,
  integer,
  nothing,
  OID,
  oid,
  sequence,
  spliced,
} from '../../../certs/asn1.ts';
import { type Ca, type CaMaterial, createCa, openCa } from '../../../certs/authority.ts';
import { encodePem } from '../../../certs/pem.ts';
import { spkiOf } from '../../../certs/pin.ts';
import { type Clock, systemClock } from '../../../shared/clock.ts';

const execute = promisify(execFile);

export const DAY_MS = 24 * 60 * 60_000;

/** The system's clock, stopped at `now`. */
export function clockAt(now: number): Clock {
  return { ...systemClock, now: () => now };
}

export interface TestCa {
  ca: Ca;
  material: CaMaterial;
  installationId: string;
}

/** A CA of 2048 bits, which is made in a fraction of the time of a real one. */
export async function testCa(clock: Clock = systemClock): Promise<TestCa> {
  const installationId = randomUUID();
  const material = await createCa({ installationId, clock, bits: 2048 });
  return { ca: openCa(material), material, installationId };
}

export interface Output {
  code: number;
  text: string;
}

/** Runs openssl; a refusal is an exit code, not an exception. */
export async function openssl(...args: string[]): Promise<Output> {
  try {
    const { stdout, stderr } = await execute('openssl', args);
    return { code: 0, text: stdout + stderr };
  } catch (error) {
    const failed = error as { code: unknown; stdout?: string; stderr?: string };
    if (typeof failed.code !== 'number') throw error;
    return { code: failed.code, text: `${failed.stdout}${failed.stderr}` };
  }
}

export const p256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
export const rsa = (bits = 2048, publicExponent = 65537) =>
  generateKeyPairSync('rsa', { modulusLength: bits, publicExponent });

export interface CsrParts {
  /** The SubjectPublicKeyInfo that stands in the request. */
  spki?: Buffer;
  version?: number;
  subject?: Asn1;
  /** Absent attributes are no form of a request. */
  attributes?: Asn1[] | 'absent';
  /** The algorithm that the request claims. */
  algorithm?: Asn1;
  digest?: string;
  signature?: Buffer;
}

export const ECDSA_SHA256 = () => sequence(oid(OID.ecdsaWithSha256));
export const RSA_SHA256 = () => sequence(oid(OID.sha256WithRsa), nothing());

/** A request in DER, right but for what `parts` says, signed by `privateKey`. */
export function csrDer(keys: { publicKey: KeyObject; privateKey: KeyObject }, parts: CsrParts = {}): Buffer {
  const { version = 0, subject = sequence(), attributes = [], digest = 'sha256' } = parts;
  const fields = [integer(Buffer.of(version)), subject, spliced(parts.spki ?? spkiOf(keys.publicKey))];
  const info = sequence(...fields, ...(attributes === 'absent' ? [] : [explicit(0, ...attributes)]));
  const signature = parts.signature ?? sign(digest, encode(info), keys.privateKey);
  const usual = keys.privateKey.asymmetricKeyType === 'rsa' ? RSA_SHA256() : ECDSA_SHA256();
  return encode(sequence(info, parts.algorithm ?? usual, bitString(signature)));
}

export function csrPem(der: Buffer): string {
  return encodePem('CERTIFICATE REQUEST', der);
}

/** A SubjectPublicKeyInfo of an RSA key with this modulus and exponent. */
export function rsaSpki(modulus: Buffer, exponent: Buffer = Buffer.of(1, 0, 1)): Buffer {
  const key = encode(sequence(integer(modulus), integer(exponent)));
  return encode(sequence(sequence(oid(OID.rsaEncryption), nothing()), bitString(key)));
}

/** A SubjectPublicKeyInfo on a curve with these bytes as its point. */
export function ecSpki(point: Buffer, curve: Asn1 = oid(OID.prime256v1)): Buffer {
  return encode(sequence(sequence(oid(OID.ecPublicKey), curve), bitString(point)));
}
