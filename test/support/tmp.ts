/** Temporary directories that are gone when the test that made them ends. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What both a TestContext and `{ after }` of node:test offer. */
export interface Cleanup {
  after(fn: () => unknown): void;
}

/** Makes an empty directory that only this user can read; removed with its content after the test. */
export async function tempDir(cleanup: Cleanup, name = 'test'): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), `fairlead-${name}-`));
  cleanup.after(() => rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }));
  return dir;
}
