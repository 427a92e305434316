/** What an agent finds of an upgrade as it starts, and makes of it: whatever was interrupted goes on, or is put in order. */
import type { Logger } from 'pino';
import type { UpgradeDisk, UpgradePaths } from './files.ts';
import type { CurrentUpgrade, UpgradeJournal } from './journal.ts';
import { MAX_STARTS } from './limits.ts';
import { putBack, removeBeside, swapState } from './swap.ts';

export interface StartContext {
  readonly journal: UpgradeJournal;
  readonly paths: UpgradePaths;
  readonly disk: UpgradeDisk;
  readonly log: Logger;
  /** That runs. */
  readonly version: string;
}

/**
 * `serve`: nothing is to be done. `settle`: this is a new executable, which must show that it works. `restart`: the one
 * before is in its place again.
 */
export type Found = 'serve' | 'settle' | 'restart';

/** To be called by the holder of the state directory, once. */
export async function findUpgrade(context: StartContext): Promise<Found> {
  const { journal, paths, log } = context;
  const { current } = journal;
  if (current === undefined) return 'serve';
  if (current.executable !== paths.executable) {
    log.warn(
      { executable: current.executable },
      'the agent runs from elsewhere than when an upgrade began: it is given up',
    );
    await journal.failed(current.release, {
      code: 'CONFLICT',
      detail: 'the agent runs from elsewhere now',
      again: true,
    });
    return 'serve';
  }
  switch (current.step) {
    case 'settled':
      await removeBeside(paths, context.disk);
      await journal.clear();
      return 'serve';
    case 'settling':
      return await settling(context, current);
    default:
      // Verified by a process that is gone: it is made again from what was downloaded, when the server wishes it still.
      await context.disk.remove(paths.next);
      log.info({ version: current.release.version, step: current.step }, 'an upgrade was interrupted');
      return 'serve';
  }
}

async function settling(context: StartContext, current: CurrentUpgrade): Promise<Found> {
  const { journal, paths, disk, log } = context;
  const { version } = current.release;
  const state = await swapState(paths);
  if (state === 'not-done') {
    // Whole, and tried; but nobody knows whether it was this process that was killed, or the machine.
    await disk.remove(paths.next);
    await disk.remove(paths.previous);
    await journal.step('downloading', current);
    return 'serve';
  }
  if (state === 'undone') {
    await putBack(context, unsettled('it was put back'));
    return 'serve';
  }
  if (context.version !== version) {
    log.warn({ version, found: context.version }, 'another version was put in the place of the new one');
    await removeBeside(paths, disk);
    await journal.failed(current.release, {
      code: 'CONFLICT',
      detail: 'another version was put in its place',
      again: true,
    });
    return 'serve';
  }
  if (current.starts >= MAX_STARTS) {
    log.error(
      { version, starts: current.starts },
      'the new version has started in vain too often: the one before comes back',
    );
    await putBack(context, unsettled(`${current.starts} starts did not bring it to the server`));
    return 'restart';
  }
  await journal.step('settling', { ...current, starts: current.starts + 1 });
  return 'settle';
}

/** A new executable that did not do its work: it is not tried again. */
export function unsettled(detail: string) {
  return { code: 'TIMEOUT', detail: `the new version was given up: ${detail}`, again: false } as const;
}
