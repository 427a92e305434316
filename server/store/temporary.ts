/** Private directories inside the data directory for what is being made: one of each name, gone at the next start. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export const TEMPORARIES = ['backup.tmp', 'restore.tmp', 'upgrade.tmp'] as const;

/** An empty directory (mode 0700). What one of that name held before is removed. Needs the directory's lock. */
export function makeTemporary(dataDir: string, name: (typeof TEMPORARIES)[number]): string {
  const directory = join(dataDir, name);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { mode: 0o700 });
  return directory;
}

/** Removes what a process that was killed has left behind. Needs the directory's lock. */
export function removeTemporaries(dataDir: string): void {
  for (const name of TEMPORARIES) rmSync(join(dataDir, name), { recursive: true, force: true });
}
