/** The last step of a process that makes way: another executable takes its place, under the same pid. */
import type { Clock } from '../../shared/clock.ts';
import { sleep } from '../../shared/sleep.ts';
import type { OwnProcess } from './own-process.ts';
import type { Replacement } from './replacement.ts';

/** A process that is just being started elsewhere may hold the file open for writing a moment longer. */
const BUSY_TRIES = 20;
const BUSY_MS = 50;

/**
 * Puts what stands at this process's executable in its place; if that cannot be started, the one before is put back and
 * started. This process must have let go of everything.
 * @throws what keeps both from being started
 */
export async function replaceProcess(replacement: Replacement, own: OwnProcess, clock: Clock): Promise<never> {
  const { executable } = replacement.paths;
  const argv = [own.argv0, ...own.args];
  try {
    for (let left = BUSY_TRIES; ; left -= 1) {
      try {
        own.execve(executable, argv, own.env);
      } catch (error) {
        if (left === 0 || !(error instanceof Error && 'code' in error && error.code === 'ETXTBSY')) throw error;
        await sleep(BUSY_MS, clock);
      }
    }
  } catch (error) {
    await replacement.undo(error);
    return own.execve(executable, argv, own.env);
  }
}
