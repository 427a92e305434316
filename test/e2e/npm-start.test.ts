/** What `npm start` promises to somebody who has just cloned the project. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { requireDocker } from '../support/docker.ts';
import { launchCommand, ROOT } from '../support/launcher.ts';
import { serverArgs } from '../support/mesh.ts';
import { tempDir } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

test('npm start makes this machine the first host, and finds it again', async (t) => {
  await requireDocker();
  const dataDir = join(await tempDir(t), 'data');
  const args = ['--data-dir', dataDir, '--api-listen', '127.0.0.1:0', '--agent-listen', '127.0.0.1:0'];
  for (const round of ['first', 'second']) {
    const started = launchCommand(t, process.execPath, [`${ROOT}install/start.ts`, ...args]);
    await started.waitForOutput(/This machine is the host \S+: online, Docker \d/, 40_000);
    assert.match(started.stdout, /sha256:[0-9a-f]{64}/);
    assert.match(started.stdout, /admin-token/);
    assert.match(started.stdout, /fairlead-agent enroll/);
    const token = (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim();
    assert.ok(!started.stdout.includes(token) && !started.stderr.includes(token));
    started.signal('SIGINT');
    const end = await within(12_000, `the end of the ${round} npm start`, started.exited, () => started.transcript());
    assert.equal(end.code, 0, started.transcript());
    assert.ok(!existsSync(join(dataDir, 'runtime.json')));
  }
});

test('a signal to npm reaches the program, which ends in order', async (t) => {
  const dataDir = join(await tempDir(t), 'data');
  const args = ['run', '--silent', 'server', '--', ...serverArgs(dataDir)];
  const npm = launchCommand(t, 'npm', args);
  const { pid } = await waitFor(
    'a ready server',
    async () => JSON.parse(await readFile(join(dataDir, 'runtime.json'), 'utf8')) as { pid: number },
    { timeoutMs: 30_000, context: () => npm.transcript() },
  );
  // Should npm go without its child, nothing may be left behind.
  t.after(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  assert.deepEqual(await npm.stop(), { code: 0, signal: null }, npm.transcript());
  assert.equal(isAlive(pid), false, 'the server outlived npm');
  assert.ok(!existsSync(join(dataDir, 'runtime.json')));
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // there is no such process
  }
}
