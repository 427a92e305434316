/** `<data-dir>/runtime.json`, which the server writes once it is ready. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Type, { type Static } from 'typebox';
import { fits } from '../../shared/validate.ts';

const Runtime = Type.Object({
  pid: Type.Integer(),
  apiUrl: Type.String(),
  agentUrl: Type.String(),
  caFingerprint: Type.String(),
  version: Type.String(),
});
export type Runtime = Static<typeof Runtime>;

const POLL_MS = 100;

/** Waits until the server with this pid has written the file; one of an earlier server does not count. */
export async function waitForRuntime(dataDir: string, pid: number, signal: AbortSignal): Promise<Runtime> {
  for (;;) {
    const runtime = await readRuntime(dataDir);
    if (runtime?.pid === pid) return runtime;
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function readRuntime(dataDir: string): Promise<Runtime | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(join(dataDir, 'runtime.json'), 'utf8'));
    return fits(Runtime, value) ? value : undefined;
  } catch {
    return undefined; // not there yet, or not whole yet: the next look tells
  }
}
