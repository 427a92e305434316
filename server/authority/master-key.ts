/** The random key beside the database that seals the CA's key where no passphrase is given. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { MASTER_KEY_BYTES } from '../../certs/key-at-rest.ts';
import { FairleadError } from '../../shared/errors.ts';
import { createFile, readIfThere, removeLeftover } from './files.ts';

const FILE = 'master.key';
const FORM = /^([0-9a-f]{64})\n?$/;

/**
 * The master key of a store that was sealed with one.
 * @throws FairleadError VALIDATION if it is missing or damaged. The file is never written here.
 */
export async function readMasterKey(dataDir: string): Promise<Buffer> {
  const file = join(dataDir, FILE);
  const key = await parseMasterKey(file);
  if (key !== undefined) return key;
  throw new FairleadError(
    'VALIDATION',
    `${file} is missing: the CA's key in the store cannot be opened without it; put it back from a backup`,
  );
}

/**
 * The master key for a first start. One that a start before left behind when it was cut off is used again.
 * @throws FairleadError VALIDATION if something else is in its place
 */
export async function readOrCreateMasterKey(dataDir: string): Promise<Buffer> {
  const file = join(dataDir, FILE);
  const found = await parseMasterKey(file);
  if (found !== undefined) return found;
  const key = randomBytes(MASTER_KEY_BYTES);
  await createFile(file, `${key.toString('hex')}\n`, 0o600);
  return key;
}

async function parseMasterKey(file: string): Promise<Buffer | undefined> {
  const text = await readIfThere(file);
  if (text === undefined) return undefined;
  const hex = FORM.exec(text.toString('latin1'))?.[1];
  if (hex === undefined) {
    throw new FairleadError('VALIDATION', `${file} is damaged: it must hold 64 hex digits; put it back from a backup`);
  }
  // A start that was killed right after it had made the file left a second name of it.
  await removeLeftover(file);
  return Buffer.from(hex, 'hex');
}
