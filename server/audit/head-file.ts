/** The file that holds what was signed last of the audit log, out of reach for whoever can only write to the store. */
import { readFile } from 'node:fs/promises';
import Type from 'typebox';
import { writeFileAtomic } from '../../shared/atomic-file.ts';
import type { SignedCheckpoint } from '../../shared/audit-chain.ts';
import { ExportCheckpoint } from '../../shared/audit-export.ts';
import { FairleadError } from '../../shared/errors.ts';
import { fits } from '../../shared/validate.ts';

const { type: _, ...fields } = ExportCheckpoint.properties;
const HeadFile = Type.Object({ checkpoint: Type.Object(fields), isStopped: Type.Boolean() });

export interface HeadRecord {
  readonly checkpoint: SignedCheckpoint;
  /** The server had stopped: nothing was to be added any more. */
  readonly isStopped: boolean;
}

/** @returns undefined if there is no file @throws FairleadError VALIDATION if it is damaged, STORE_UNAVAILABLE */
export async function readHead(path: string): Promise<HeadRecord | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new FairleadError('STORE_UNAVAILABLE', `${path} cannot be read`, { cause });
  }
  const value = parse(text);
  if (fits(HeadFile, value)) return value;
  throw new FairleadError('VALIDATION', `${path} is damaged`);
}

/** @throws the file system's error */
export async function writeHead(path: string, head: HeadRecord): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(head)}\n`, 0o600);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the caller says that it is damaged
  }
}
