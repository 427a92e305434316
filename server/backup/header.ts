/**
 * The head of a backup file, and the way from a passphrase to the keys. The passphrase and scrypt stay with whoever asks
 * for the backup; the server is given the key that comes of it, which opens this one file and is never written.
 */
import * as crypto from 'node:crypto';
import { promisify } from 'node:util';
import { FairleadError } from '../../shared/errors.ts';

const MAGIC = Buffer.from('FLBK', 'ascii');
/** The format that this version writes, and the only one that it reads. */
const FORMAT = 1;
const SALT_AT = 8;
const FILE_SALT_AT = 24;
export const HEADER_BYTES = 40;
export const SALT_BYTES = FILE_SALT_AT - SALT_AT;
const KEY_BYTES = 32;
const MAX_PASSPHRASE_BYTES = 4096;
const INFO = 'fairlead backup';

/** scrypt's cost: 128 MiB and some 0.4 s. */
const COST = { log2N: 17, r: 8, p: 1 } as const;
/** Bounds on reading, so that a tampered header can ask for neither too little nor for the machine. */
export const COST_BOUNDS = { minLog2N: 15, maxLog2N: 18, r: COST.r, maxP: 4 } as const;
const SCRYPT_MAX_BYTES = 2 * 128 * 2 ** COST_BOUNDS.maxLog2N * COST.r;

const scrypt = promisify<crypto.BinaryLike, crypto.BinaryLike, number, crypto.ScryptOptions, Buffer>(crypto.scrypt);

/** How a passphrase becomes a key. */
export interface KeyRecipe {
  readonly log2N: number;
  readonly r: number;
  readonly p: number;
  /** 16 bytes. */
  readonly salt: Buffer;
}

/** A key of 32 bytes and how it came of a passphrase. */
export interface BackupKey {
  readonly recipe: KeyRecipe;
  readonly key: Buffer;
}

/** Why a backup cannot be read. */
export function unreadable(why: string): FairleadError {
  return new FairleadError('VALIDATION', `the backup cannot be read: ${why}`);
}

/** A key of its own for a new backup. @throws FairleadError VALIDATION for a passphrase that is empty or too long */
export async function newBackupKey(passphrase: string): Promise<BackupKey> {
  const recipe = { ...COST, salt: crypto.randomBytes(SALT_BYTES) };
  return { recipe, key: await deriveKey(passphrase, recipe) };
}

/** @throws FairleadError VALIDATION for a passphrase that is empty or too long */
export async function deriveKey(passphrase: string, { log2N, r, p, salt }: KeyRecipe): Promise<Buffer> {
  const bytes = Buffer.from(passphrase);
  if (bytes.length === 0) throw new FairleadError('VALIDATION', 'the passphrase of the backup is empty');
  if (bytes.length > MAX_PASSPHRASE_BYTES) {
    throw new FairleadError('VALIDATION', `the passphrase of the backup is longer than ${MAX_PASSPHRASE_BYTES} bytes`);
  }
  return await scrypt(bytes, salt, KEY_BYTES, { N: 2 ** log2N, r, p, maxmem: SCRYPT_MAX_BYTES });
}

/** A header for one file: no two have the same. @throws FairleadError VALIDATION if the recipe is out of bounds */
export function newHeader({ log2N, r, p, salt }: KeyRecipe): Buffer {
  const header = Buffer.concat([
    MAGIC,
    Buffer.of(FORMAT, log2N, r, p),
    salt,
    crypto.randomBytes(HEADER_BYTES - FILE_SALT_AT),
  ]);
  readHeader(header);
  return header;
}

/** @throws FairleadError VALIDATION in one sentence, if this is not the header of a backup that can be read */
export function readHeader(header: Buffer): KeyRecipe {
  if (header.length === 0) throw unreadable('the file is empty');
  const magic = header.subarray(0, MAGIC.length);
  if (!magic.equals(MAGIC.subarray(0, magic.length))) throw unreadable('it is no backup of Fairlead');
  if (header.length < HEADER_BYTES) throw unreadable('it was cut off');
  const [format = 0, log2N = 0, r = 0, p = 0] = header.subarray(MAGIC.length, SALT_AT);
  if (format > FORMAT) throw newer(format);
  if (format !== FORMAT) throw unreadable('it was damaged');
  const { minLog2N, maxLog2N, maxP } = COST_BOUNDS;
  if (log2N < minLog2N || log2N > maxLog2N || r !== COST_BOUNDS.r || p < 1 || p > maxP) {
    throw unreadable('its scrypt parameters are out of bounds, so it was damaged or tampered with');
  }
  return { log2N, r, p, salt: header.subarray(SALT_AT, FILE_SALT_AT) };
}

/** What is told of a format that this version does not know yet. */
export function newer(format: number): FairleadError {
  return unreadable(`it has format ${format}, this version reads up to ${FORMAT}: use a newer version of Fairlead`);
}

/** The key of the file's content: one of its own for each file, even if a caller gives the same key twice. */
export function contentKey(key: Buffer, header: Buffer): Buffer {
  return Buffer.from(crypto.hkdfSync('sha256', key, header.subarray(FILE_SALT_AT, HEADER_BYTES), INFO, KEY_BYTES));
}
