/** Cleaning up after tests, in reverse order, and temporary directories that are gone with their test. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

/** What a TestContext offers. */
export interface Cleanup {
  after(fn: () => unknown): void;
}

const stacks = new WeakMap<Cleanup, (() => unknown)[]>();

/** Runs `fn` after the test; what was deferred last runs first, so that programs end before their directories go. */
export function defer(cleanup: Cleanup, fn: () => unknown): void {
  const known = stacks.get(cleanup);
  if (known !== undefined) {
    known.push(fn);
    return;
  }
  const stack = [fn];
  stacks.set(cleanup, stack);
  cleanup.after(() => runAll(stack));
}

/** Runs all of `stack`, the last one first. @throws what the first one to fail threw, after the others had their turn */
async function runAll(stack: (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    try {
      await next();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** For what all tests of a file share. To be called at the top of the file, not inside of a hook. */
export function fileCleanup(): Cleanup {
  const all: (() => unknown)[] = [];
  after(() => runAll(all));
  return { after: (fn) => void all.push(fn) };
}

/** Makes an empty directory that only this user can read; removed with its content after the test. */
export async function tempDir(cleanup: Cleanup, name = 'test'): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), `fairlead-${name}-`));
  defer(cleanup, () => rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }));
  return dir;
}
