/**
 * renewal.json: how far the way from one key to the next has come. It holds the new key, then its certificate too; the pair
 * in key.pem and cert.pem stays as it is until the new one was proven, and only then follows it.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import Type, { type Static } from 'typebox';
import { syncDirectory, writeFileAtomic } from '../../shared/atomic-file.ts';

/** The contents of renewal.json. */
export const RenewalJournal = Type.Object({
  keyPem: Type.String({ minLength: 1 }),
  /** Absent until the server has answered. */
  certPem: Type.Optional(Type.String({ minLength: 1 })),
  /** When the key was made, RFC 3339. */
  since: Type.String(),
});
export type RenewalJournal = Static<typeof RenewalJournal>;

export const JOURNAL_FILE = 'renewal.json';

/** The changes of files that a renewal makes, each of them whole or not at all, so that tests can stop between any two. */
export interface IdentityFiles {
  write(path: string, text: string, mode: number): Promise<void>;
  remove(path: string): Promise<void>;
}

export const durableFiles: IdentityFiles = {
  write: writeFileAtomic,
  async remove(path) {
    await rm(path, { force: true });
    await syncDirectory(join(path, '..'));
  },
};
