/** A first start that is killed at any moment leaves a whole CA or none, and the next start works. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { Authority } from '../../server/authority/authority.ts';
import { systemClock } from '../../shared/clock.ts';
import { tempDir } from '../support/tmp.ts';
import { fileSettings } from './certs-first-start-child.ts';

const CHILD = fileURLToPath(new URL('./certs-first-start-child.ts', import.meta.url));

interface Death {
  signal: string | null;
  after: number;
}

/** Runs a first start that is killed at `moment`, or after so many ms. */
async function killed(dir: string, moment: string, afterMs?: number): Promise<Death> {
  const started = performance.now();
  const child = spawn(process.execPath, [CHILD, dir, moment], { stdio: ['ignore', 'ignore', 'inherit'] });
  const timer = afterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), afterMs);
  const [, signal] = await once(child, 'exit');
  clearTimeout(timer);
  return { signal, after: performance.now() - started };
}

async function open(t: TestContext, dir: string): Promise<Authority> {
  const authority = await Authority.open({
    settings: fileSettings(dir),
    certificates: { active: async () => [] },
    dataDir: dir,
    publicHosts: ['localhost'],
    clock: systemClock,
    log: pino({ level: 'silent' }),
    caKeyBits: 2048,
  });
  t.after(() => authority.close());
  return authority;
}

async function masterKeyIn(dir: string): Promise<string | undefined> {
  return (await readdir(dir)).includes('master.key') ? await readFile(join(dir, 'master.key'), 'utf8') : undefined;
}

/** The next start finds what is there, keeps the master key, and comes back to the same CA ever after. */
async function comesBack(t: TestContext, dir: string): Promise<void> {
  const key = await masterKeyIn(dir);
  const first = await open(t, dir);
  assert.match((await masterKeyIn(dir)) ?? '', /^[0-9a-f]{64}\n$/);
  if (key !== undefined) assert.equal(await masterKeyIn(dir), key);
  assert.equal((await open(t, dir)).caPem, first.caPem);
  assert.equal(await readFile(join(dir, 'ca.pem'), 'utf8'), first.caPem);
  assert.deepEqual((await readdir(dir)).sort(), ['ca.pem', 'master.key', 'settings.json']);
}

for (const moment of ['before the store', 'within the store', 'after the store']) {
  test(`killed ${moment} has the CA`, async (t) => {
    const dir = await tempDir(t, 'first-start');
    assert.equal((await killed(dir, moment)).signal, 'SIGKILL');
    const stored = await fileSettings(dir).get('authority.ca');
    assert.equal(stored !== undefined, moment === 'after the store');
    await comesBack(t, dir);
    if (stored) assert.deepEqual(await fileSettings(dir).get('authority.ca'), stored);
  });
}

test('killed at moments spread over the whole start', async (t) => {
  const whole = await killed(await tempDir(t, 'first-start'), 'never');
  assert.equal(whole.signal, null);
  for (let part = 3; part <= 10; part++) {
    const dir = await tempDir(t, 'first-start');
    await killed(dir, 'never', (whole.after * part) / 10);
    await comesBack(t, dir);
  }
});
