/** The files of an agent while its process is killed: those of its identity, and those of an upgrade. */
import { durableFiles, type IdentityFiles } from '../../agent/identity/renewal-journal.ts';
import { durableDisk, type UpgradeDisk } from '../../agent/upgrade/files.ts';

type When = 'before' | 'after';

/** Changes of a process that is killed before or after one of them: nothing it does afterwards counts. */
function killing(step: number, when: When) {
  const { promise: killed, resolve } = Promise.withResolvers<void>();
  let steps = 0;
  const change = async (work: () => Promise<void>) => {
    steps += 1;
    const isLast = steps === step;
    if (steps < step || (isLast && when === 'after')) await work();
    if (steps < step) return;
    resolve();
    throw new Error('killed');
  };
  return { killed, change, steps: () => steps };
}

/** Files of an identity, of a process that is killed at a change. */
export function killedAt(step: number, when: When): { files: IdentityFiles; killed: Promise<void> } {
  const { killed, change } = killing(step, when);
  return {
    killed,
    files: {
      write: (...args) => change(() => durableFiles.write(...args)),
      remove: (...args) => change(() => durableFiles.remove(...args)),
    },
  };
}

/** The same of an upgrade. `steps` tells how many changes there were. */
export function upgradeKilledAt(
  step: number,
  when: When,
): { disk: UpgradeDisk; killed: Promise<void>; steps: () => number } {
  const { change, ...rest } = killing(step, when);
  return {
    ...rest,
    disk: {
      write: (...args) => change(() => durableDisk.write(...args)),
      remove: (...args) => change(() => durableDisk.remove(...args)),
      link: (...args) => change(() => durableDisk.link(...args)),
      rename: (...args) => change(() => durableDisk.rename(...args)),
      free: durableDisk.free,
    },
  };
}
