/** Files that commands read and write beside the API: certificates, requests, keys, passphrases. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../../../shared/atomic-file.ts';
import { CliError, systemCode, usageError } from '../errors.ts';

/** Larger files are neither certificates nor passphrases. */
const MAX_BYTES = 256 * 1024;

/** @param what it is, for errors. @throws CliError */
export async function readText(path: string, what: string): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      if ((await file.stat()).size > MAX_BYTES) throw new CliError(`${what} is too large: ${path}`);
    } finally {
      await file.close();
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`cannot read ${what}: ${(error as Error).message}`, { cause: error });
  }
}

/** A passphrase or a password: a file without the line break at its end. @param what it is, for errors. @throws CliError */
export async function readPassphrase(path: string, what: 'passphrase' | 'password' = 'passphrase'): Promise<string> {
  const secret = (await readText(path, `the ${what} file`)).replace(/\r?\n$/, '');
  if (secret === '') throw usageError(`there is no ${what} in ${path}`);
  return secret;
}

/** Writes a file whole or not at all, in the place of what is there. @throws CliError */
export async function replaceFile(path: string, content: string, mode: number): Promise<void> {
  try {
    await writeFileAtomic(path, content, mode);
  } catch (error) {
    throw new CliError(`cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Makes a file that is not there yet, durably. @throws CliError if it is there */
export async function createFile(path: string, content: string, mode: number): Promise<void> {
  try {
    const file = await open(path, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw new CliError(`${path} is there already and is not overwritten`);
    throw new CliError(`cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** The key that signs releases. @throws CliError */
export async function readSigningKey(file: string, passphraseFile: string | undefined): Promise<KeyObject> {
  const pem = await readText(file, 'the key');
  const passphrase = passphraseFile === undefined ? undefined : await readPassphrase(passphraseFile);
  try {
    return createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (cause) {
    const why = passphrase === undefined ? 'it may need --passphrase-file' : 'the passphrase may be wrong';
    throw new CliError(`${file} cannot be read as a private key: ${why}`, { cause });
  }
}
