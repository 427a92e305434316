/**
 * A private key at rest: AES-256-GCM under a key from a passphrase (scrypt) or from a random master key (HKDF).
 * Layout: magic 4 | version 1 | kind 1 | log2 N 1 | r 1 | p 1 | salt 16 | nonce 12 | ciphertext | tag 16. All before
 * the ciphertext is the header and is authenticated with it.
 */
import * as crypto from 'node:crypto';
import { promisify } from 'node:util';
import { FairleadError } from '../shared/errors.ts';

export type SealKind = 'passphrase' | 'master-key';

export const MASTER_KEY_BYTES = 32;
const MAGIC = Buffer.from('FLSK', 'ascii');
const VERSION = 1;
const SALT_AT = 9;
const NONCE_AT = 25;
const HEADER_BYTES = 37;
const TAG_BYTES = 16;
const MAX_SEALED_BYTES = 64 * 1024;
const MAX_PASSPHRASE_BYTES = 4096;
const INFO = 'fairlead key at rest';
const KIND_CODES = { passphrase: 1, 'master-key': 2 } as const;

/** scrypt's cost: 128 MiB and some 0.4 s. */
const COST = { log2N: 17, r: 8, p: 1 } as const;
/** Bounds on reading, so that a tampered header can ask for neither too little nor for the machine. */
const MIN_LOG2_N = 15;
const MAX_LOG2_N = 18;
const MAX_P = 4;
const SCRYPT_MAX_BYTES = 2 * 128 * 2 ** MAX_LOG2_N * COST.r;

const scrypt = promisify<crypto.BinaryLike, crypto.BinaryLike, number, crypto.ScryptOptions, Buffer>(crypto.scrypt);

interface Header {
  readonly kind: SealKind;
  readonly log2N: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Buffer;
  readonly nonce: Buffer;
}

function unreadable(why: string): FairleadError {
  return new FairleadError('VALIDATION', `the sealed key cannot be opened: ${why}`);
}

/**
 * Seals a key under a passphrase, or under a master key of 32 random bytes.
 * @throws FairleadError VALIDATION if the passphrase is empty or the master key has another length
 */
export async function sealKey(keyPem: string, secret: Buffer | string, kind: SealKind): Promise<Buffer> {
  const { log2N, r, p } = kind === 'passphrase' ? COST : { log2N: 0, r: 0, p: 0 };
  const header = Buffer.concat([
    MAGIC,
    Buffer.of(VERSION, KIND_CODES[kind], log2N, r, p),
    crypto.randomBytes(HEADER_BYTES - SALT_AT),
  ]);
  const key = await deriveKey(readHeader(header), secret);
  const cipher = crypto.createCipheriv('aes-256-gcm', key, header.subarray(NONCE_AT), { authTagLength: TAG_BYTES });
  key.fill(0);
  cipher.setAAD(header);
  return Buffer.concat([header, cipher.update(keyPem, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

/** What a key is sealed under. @throws FairleadError VALIDATION if these are not the bytes of a sealed key */
export function sealedKind(sealed: Buffer): SealKind {
  return readHeader(sealed).kind;
}

/**
 * The key that `sealKey` sealed, in PEM.
 * @throws FairleadError VALIDATION in one sentence, if the secret is wrong or anything was changed
 */
export async function unsealKey(sealed: Buffer, secret: Buffer | string): Promise<string> {
  const header = readHeader(sealed);
  if (sealed.length <= HEADER_BYTES + TAG_BYTES) throw unreadable('it is truncated');
  if (sealed.length > MAX_SEALED_BYTES) throw unreadable('it is too large');
  const key = await deriveKey(header, secret);
  const decipher = crypto.createDecipheriv('aes-256-gcm', key, header.nonce, { authTagLength: TAG_BYTES });
  key.fill(0);
  decipher.setAAD(sealed.subarray(0, HEADER_BYTES));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const opened = decipher.update(sealed.subarray(HEADER_BYTES, -TAG_BYTES));
  try {
    return Buffer.concat([opened, decipher.final()]).toString('utf8');
  } catch {
    // Node says only that authentication failed; which of the two it was, nobody can tell.
    throw unreadable(
      `${header.kind === 'passphrase' ? 'the passphrase' : 'the master key'} is wrong or it was damaged`,
    );
  }
}

function readHeader(sealed: Buffer): Header {
  if (sealed.length < HEADER_BYTES || !sealed.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw unreadable('it is damaged');
  }
  const [version, code, log2N = 0, r = 0, p = 0] = sealed.subarray(MAGIC.length, SALT_AT);
  if (version !== VERSION) throw unreadable('it was written by another version of this program');
  if (code === KIND_CODES.passphrase) checkCost(log2N, r, p);
  else if (code !== KIND_CODES['master-key'] || log2N + r + p !== 0) throw unreadable('it is damaged');
  const kind = code === KIND_CODES.passphrase ? 'passphrase' : 'master-key';
  const salt = sealed.subarray(SALT_AT, NONCE_AT);
  return { kind, log2N, r, p, salt, nonce: sealed.subarray(NONCE_AT, HEADER_BYTES) };
}

function checkCost(log2N: number, r: number, p: number): void {
  if (log2N >= MIN_LOG2_N && log2N <= MAX_LOG2_N && r === COST.r && p >= 1 && p <= MAX_P) return;
  throw unreadable('its scrypt parameters are out of bounds, so it was damaged or tampered with');
}

async function deriveKey(header: Header, secret: Buffer | string): Promise<Buffer> {
  const bytes = Buffer.from(secret);
  if (header.kind === 'master-key') {
    if (bytes.length !== MASTER_KEY_BYTES) throw unreadable(`the master key must have ${MASTER_KEY_BYTES} bytes`);
    return Buffer.from(crypto.hkdfSync('sha256', bytes, header.salt, INFO, 32));
  }
  if (bytes.length === 0) throw unreadable('the passphrase is empty');
  if (bytes.length > MAX_PASSPHRASE_BYTES)
    throw unreadable(`the passphrase is longer than ${MAX_PASSPHRASE_BYTES} bytes`);
  const cost = { N: 2 ** header.log2N, r: header.r, p: header.p, maxmem: SCRYPT_MAX_BYTES };
  return scrypt(bytes, header.salt, 32, cost);
}
