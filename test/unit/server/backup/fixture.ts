/** A store with its backups, and files made of them; with the least cost of scrypt that is taken. */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Backups } from '../../../../server/backup/backups.ts';
import { type BackupKey, COST_BOUNDS, deriveKey } from '../../../../server/backup/header.ts';
import type { Manifest } from '../../../../server/backup/manifest.ts';
import type { Cleanup } from '../../../support/tmp.ts';
import { type Opened, openTestStore } from '../store/fixture.ts';

export const PASSPHRASE = 'correct horse battery staple';
export const MASTER_KEY_TEXT = `${'ab'.repeat(32)}\n`;

export async function cheapKey(passphrase = PASSPHRASE): Promise<BackupKey> {
  const recipe = { log2N: COST_BOUNDS.minLog2N, r: COST_BOUNDS.r, p: 1, salt: randomBytes(16) };
  return { recipe, key: await deriveKey(passphrase, recipe) };
}

export interface OpenedBackups extends Opened {
  readonly backups: Backups;
}

/** A store whose CA rests under a master key. */
export async function openBackups(cleanup: Cleanup): Promise<OpenedBackups> {
  const opened = await openTestStore(cleanup);
  await writeFile(join(opened.dataDir, 'master.key'), MASTER_KEY_TEXT, { mode: 0o600 });
  return { ...opened, backups: backupsOf(opened) };
}

export function backupsOf(
  { store, clock }: Pick<Opened, 'store' | 'clock'>,
  caSeal: Manifest['caSeal'] = 'master-key',
) {
  return new Backups({
    store,
    authority: {
      installationId: 'an-installation',
      caFingerprint: `sha256:${'00'.repeat(32)}`,
      seal: { kind: caSeal },
    },
    clock,
    log: { info: () => undefined },
  });
}

export const never = new AbortController().signal;

/** Makes a backup and writes it to `file`. */
export async function writeBackup(backups: Backups, file: string, key?: BackupKey): Promise<Manifest> {
  const backup = await backups.create(key ?? (await cheapKey()), 'the-admin', never);
  try {
    await pipeline(backup.chunks, createWriteStream(file, { mode: 0o600 }));
    return backup.manifest;
  } finally {
    backup.release();
  }
}

/** Every file below `directory` with its content. */
export async function contentOf(directory: string): Promise<Record<string, string>> {
  const content: Record<string, string> = {};
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) content[path.slice(directory.length + 1)] = (await readFile(path)).toString('latin1');
  }
  return content;
}
