/** What builds are told of releases: files with public keys, and the sequence. */
import { readFile } from 'node:fs/promises';
import { Release } from '../../shared/releases/release.ts';
import { readReleaseKeys } from '../../shared/releases/signature.ts';
import { fits } from '../../shared/validate.ts';

/** The keys in `files` in PEM, one after the other, without what may stand around them. @throws for a file without any */
export async function publicKeysOf(files: readonly string[]): Promise<string> {
  const texts = await Promise.all(files.map(async (file) => keysIn(await textOf(file), file)));
  return texts.join('');
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new Error(`the release key ${file} cannot be read (${code})`, { cause });
  }
}

function keysIn(text: string, file: string): string {
  const keys = [...readReleaseKeys(text, file).values()];
  if (keys.length === 0)
    throw new Error(`${file} is empty: it must hold a public key, as fairlead release keygen makes it`);
  return keys.map((key) => key.export({ type: 'spki', format: 'pem' })).join('');
}

/** The sequence of the release that is built, if one is given. @throws for what is none */
export function sequenceOf(text: string | undefined): { sequence?: number } {
  if (text === undefined) return {};
  const sequence = Number(text);
  if (text.trim() === '' || !fits(Release.properties.sequence, sequence))
    throw new Error(`--sequence ${text} is no whole number from 1 on`);
  return { sequence };
}
