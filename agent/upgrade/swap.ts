/** Puts a new executable in the place of the old one, and back: at every moment one of both stands there whole. */
import type { Logger } from 'pino';
import { isThere, type UpgradeDisk, type UpgradePaths } from './files.ts';
import type { CurrentUpgrade, UpgradeFailure, UpgradeJournal } from './journal.ts';

/** From here on the executable is the new one; the one before stands beside it. The journal says so first. */
export async function swap(
  journal: UpgradeJournal,
  paths: UpgradePaths,
  disk: UpgradeDisk,
  current: CurrentUpgrade,
): Promise<void> {
  await disk.remove(paths.part);
  await disk.remove(paths.previous);
  await journal.step('settling', { ...current, starts: 0 });
  // A second name for the old one, so that its place is never empty.
  await disk.link(paths.executable, paths.previous);
  await disk.rename(paths.next, paths.executable);
}

/** How far a swap has come that the journal speaks of. The renames tell, each of which takes its source away. */
export async function swapState(paths: UpgradePaths): Promise<'not-done' | 'done' | 'undone'> {
  if (await isThere(paths.next)) return 'not-done';
  return (await isThere(paths.previous)) ? 'done' : 'undone';
}

export interface PutBackOptions {
  readonly journal: UpgradeJournal;
  readonly paths: UpgradePaths;
  readonly disk: UpgradeDisk;
  readonly log: Pick<Logger, 'error'>;
}

/**
 * Puts the old executable back, and writes down why. Repeated after a crash at any point it ends the same.
 * @throws the file system's error, unless only the writing has failed: the next start finds out by the files
 */
export async function putBack({ journal, paths, disk, log }: PutBackOptions, failure: UpgradeFailure): Promise<void> {
  const { current } = journal;
  if (current === undefined) return;
  const wasDone = (await swapState(paths)) === 'done';
  if (wasDone) await disk.rename(paths.previous, paths.executable);
  else await removeBeside(paths, disk);
  try {
    await journal.failed(current.release, failure);
  } catch (err) {
    if (!wasDone) throw err;
    log.error({ err, reason: failure.detail }, 'why the version before is back cannot be written down');
  }
}

/** Removes what stands beside the executable. */
export async function removeBeside(paths: UpgradePaths, disk: UpgradeDisk): Promise<void> {
  await disk.remove(paths.part);
  await disk.remove(paths.next);
  await disk.remove(paths.previous);
}
