/**
 * Gives a data directory another content, all of it or none. The new files wait in a directory inside of it; renaming that
 * to `restore-<time>.ready` is the moment at which the new content counts. From then on the old files are moved aside, and
 * the new ones into their places, by whoever comes next if need be: each step can be done again after a crash.
 * All of it needs the directory's lock.
 */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { TEMPORARIES } from './temporary.ts';

/** What stays where it is: the lock is held, and the rest is not ours. */
const STAYS: ReadonlySet<string> = new Set(['fairlead.lock', 'lost+found', ...TEMPORARIES]);
const ASIDE = 'before-restore-';
const UNDER_WAY = /^restore-(.+)\.(ready|placing)$/;

/** Told before each step that changes the directory. */
export type OnStep = (step: string) => void;

/** The names of the files that make the content of `dataDir`. */
export function contentNames(dataDir: string): string[] {
  return readdirSync(dataDir).filter((name) => !STAYS.has(name) && !name.startsWith(ASIDE) && !UNDER_WAY.test(name));
}

/**
 * Puts the files in `staged`, a directory inside of `dataDir`, in the place of what is there. They must be on the disk.
 * @param at ms since 1970, for the name of the directory to which the old content goes
 * @returns that directory, if there was any
 */
export function replaceContent(
  dataDir: string,
  staged: string,
  at: number,
  onStep: OnStep = () => undefined,
): string | undefined {
  const label = freeLabel(dataDir, at);
  syncDirectory(staged);
  onStep('commit');
  renameSync(staged, join(dataDir, `restore-${label}.ready`));
  syncDirectory(dataDir);
  finishReplacement(dataDir, onStep);
  const aside = join(dataDir, ASIDE + label);
  return existsSync(aside) ? aside : undefined;
}

/** Finishes a replacement that was cut off, if there is one. @returns whether there was */
export function finishReplacement(dataDir: string, onStep: OnStep = () => undefined): boolean {
  for (const name of readdirSync(dataDir)) {
    const [, label, state] = UNDER_WAY.exec(name) ?? [];
    if (label === undefined) continue;
    const placing = join(dataDir, `restore-${label}.placing`);
    if (state === 'ready') {
      moveAside(dataDir, join(dataDir, ASIDE + label), onStep);
      onStep('place');
      renameSync(join(dataDir, name), placing);
      syncDirectory(dataDir);
    }
    moveAll(placing, dataDir, readdirSync(placing), onStep);
    rmdirSync(placing);
    syncDirectory(dataDir);
    return true;
  }
  return false;
}

function moveAside(dataDir: string, aside: string, onStep: OnStep): void {
  const names = contentNames(dataDir);
  if (names.length === 0) return;
  onStep('make the directory for what was there');
  mkdirSync(aside, { recursive: true, mode: 0o700 });
  moveAll(dataDir, aside, names, onStep);
}

function moveAll(from: string, to: string, names: readonly string[], onStep: OnStep): void {
  for (const name of names) {
    onStep(`move ${name}`);
    renameSync(join(from, name), join(to, name));
  }
  syncDirectory(to);
  syncDirectory(from);
}

/** `20300101T000000Z`, with a number behind it if that is taken. */
function freeLabel(dataDir: string, at: number): string {
  const time = new Date(at).toISOString().replace(/[-:]|\.\d+/g, '');
  let label = time;
  for (let n = 2; existsSync(join(dataDir, ASIDE + label)); n++) label = `${time}-${n}`;
  return label;
}

function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
