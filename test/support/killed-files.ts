/** The files of an agent's identity while its process is killed. */
import { durableFiles, type IdentityFiles } from '../../agent/identity/renewal-journal.ts';

/** Files of a process that is killed before or after one of its changes: nothing it does afterwards counts. */
export function killedAt(step: number, when: 'before' | 'after'): { files: IdentityFiles; killed: Promise<void> } {
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
  return {
    killed,
    files: {
      write: (...args) => change(() => durableFiles.write(...args)),
      remove: (...args) => change(() => durableFiles.remove(...args)),
    },
  };
}
