/** Upgrades by real processes that crash, hang, are killed or are stopped: the version before comes back, and nobody stays behind. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { build } from 'esbuild';
import { readRun } from '../../agent/identity/state-lock.ts';
import { readUpgradeRecord } from '../../agent/upgrade/journal.ts';
import { BUNDLING } from '../../install/build/bundling.ts';
import { type Launched, launchCommand } from '../support/launcher.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { startUpgradePort, type UpgradePort } from '../support/upgrade-port.ts';
import { ALONE, filesOf, putExecutable, releaseOf, type UpgradeHost, upgradeHost } from '../support/upgrades.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
/** The child as one file, which starts in a third of the time. */
let child: string;

before(async () => {
  child = join(await tempDir(shared, 'upgrade-child'), 'child.mjs');
  await build({
    ...BUNDLING,
    entryPoints: ['test/support/upgrade-child.ts'],
    outfile: child,
    target: 'node24',
    external: ['bufferutil'],
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
  });
});

const FROM = '1.0.0';
const TO = '1.1.0';

/** An executable of the agent: a script that is replaced by a Node with the child, under its own pid. */
function processScript(version: string, onRun = ''): string {
  const start = `exec '${process.execPath}' '${child}' ${version} "$0" "$@"`;
  return `#!/bin/sh\n# *) echo ${version} ;;\nif [ "$1" = run ]; then :; ${onRun}\nfi\n${start}\n`;
}

interface Setting {
  readonly host: UpgradeHost;
  readonly port: UpgradePort;
  readonly release: ReturnType<typeof releaseOf>['release'];
  start(env?: Record<string, string>): Launched;
}

/** A host that runs FROM, and a release of TO that behaves as told once it is in place. */
async function setting(t: TestContext, { onRun = '', settleMs = 60_000, supervised = false } = {}): Promise<Setting> {
  const host = await upgradeHost(t, FROM);
  await putExecutable(host.executable, processScript(FROM));
  const keyFile = join(dirname(host.stateDir), 'key.pub');
  await writeFile(keyFile, createPublicKey(host.privateKey).export({ type: 'spki', format: 'pem' }));
  const offered = releaseOf(host, TO, { script: processScript(TO, onRun) });
  const port = await startUpgradePort(t, host.stateDir, [offered]);
  // Whatever of the host is left, watchers among it, has its folder in its arguments.
  defer(t, () => {
    for (const pid of processesOf(host)) process.kill(pid, 'SIGKILL');
  });
  const settings = { TEST_SETTLE_MS: String(settleMs), ...(supervised ? { FAIRLEAD_SUPERVISED: '1' } : {}) };
  const args = ['run', '--state-dir', host.stateDir, '--release-key', keyFile];
  const start = (env = {}) => launchCommand(t, host.executable, args, { env: { ...settings, ...env } });
  return { host, port, release: offered.release, start };
}

function processesOf({ stateDir }: UpgradeHost): number[] {
  const list = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n');
  return list.filter((line) => line.includes(stateDir)).map((line) => Number.parseInt(line, 10));
}

async function online(port: UpgradePort, version: string, agent?: Launched): Promise<void> {
  await waitFor(`${version} to be online`, () => port.serving()?.hello.agentVersion === version, {
    timeoutMs: 30_000,
    context: () => `${agent?.transcript()}\n${JSON.stringify(port.statuses)}`,
  });
}

async function said(port: UpgradePort, state: string, agent?: Launched) {
  return await waitFor(`the agent to say ${state}`, () => port.statuses.find((each) => each.state === state), {
    timeoutMs: 30_000,
    context: () => `${agent?.transcript()}\n${JSON.stringify(port.statuses)}`,
  });
}

/** The version before is back, the release is not tried again, and only the agent is left, if one is. */
async function isBack({ host, port }: Setting, detail: RegExp): Promise<void> {
  assert.equal((await said(port, 'failed')).state, 'failed');
  assert.match(port.statuses.find(({ state }) => state === 'failed')?.detail ?? '', detail);
  assert.deepEqual(await filesOf(host), { names: ALONE, version: FROM });
  assert.deepEqual(port.serving()?.hello.upgrade?.refused, [1]);
  const run = readRun(host.stateDir);
  await waitFor('the watcher to be gone', () => processesOf(host).length === 1);
  assert.deepEqual(processesOf(host), [run?.pid]);
}

// Most of the time each waits for a process that starts.
describe('an upgrade', { concurrency: 4 }, () => {
  test('a new version takes the place of the process, and no watcher stays', async (t) => {
    const it = await setting(t);
    const agent = it.start();
    await online(it.port, FROM, agent);
    it.port.offer(it.release);
    await said(it.port, 'done', agent);
    assert.deepEqual(
      it.port.sessions.map(({ hello }) => [hello.agentVersion, hello.trial]),
      [
        [FROM, undefined],
        [TO, true],
        [TO, undefined],
      ],
    );
    await waitFor('the watcher to be gone', () => processesOf(it.host).length === 1);
    assert.deepEqual(processesOf(it.host), [agent.pid]);
    assert.deepEqual(await filesOf(it.host), { names: ALONE, version: TO });
    assert.deepEqual(await agent.stop(), { code: 0, signal: null });
  });

  test('one that crashes at once is put back by the watcher, which starts the version before', async (t) => {
    const it = await setting(t, { onRun: 'exit 1' });
    const agent = it.start();
    await online(it.port, FROM, agent);
    it.port.offer(it.release);
    assert.equal((await agent.exited).code, 1);
    await online(it.port, FROM);
    await isBack(it, /it ended before it had settled/);
    const [pid = 0] = processesOf(it.host);
    assert.notEqual(pid, agent.pid);
  });

  test('under a supervisor the watcher puts it back, and leaves the start to that', async (t) => {
    const it = await setting(t, { onRun: 'exit 1', supervised: true });
    const agent = it.start();
    await online(it.port, FROM, agent);
    it.port.offer(it.release);
    assert.equal((await agent.exited).code, 1);
    await waitFor('nobody to be left', () => processesOf(it.host).length === 0, { timeoutMs: 20_000 });
    assert.deepEqual(await filesOf(it.host), { names: ALONE, version: FROM });
    const again = it.start();
    await online(it.port, FROM, again);
    await isBack(it, /it ended before it had settled/);
  });

  test('one that hangs is killed by the watcher', async (t) => {
    const it = await setting(t, { onRun: 'exec sleep 600', settleMs: 1_000 });
    const agent = it.start();
    await online(it.port, FROM, agent);
    it.port.offer(it.release);
    assert.equal((await agent.exited).signal, 'SIGKILL');
    await online(it.port, FROM);
    await isBack(it, /given up: it hung/);
  });

  test('one that is not welcomed puts the version before back by itself, under the same pid', async (t) => {
    const it = await setting(t, { settleMs: 3_000 });
    it.port.accepts = ({ agentVersion, trial }) => agentVersion === FROM || trial === true;
    const agent = it.start();
    await online(it.port, FROM, agent);
    it.port.offer(it.release);
    await said(it.port, 'failed', agent);
    await isBack(it, /no server welcomed it within 3 s/);
    assert.deepEqual(processesOf(it.host), [agent.pid]);
  });

  test('stopped before it has settled, the version before is in place, and the release may come again', async (t) => {
    const it = await setting(t);
    it.port.accepts = ({ agentVersion, trial }) => agentVersion === FROM || trial === true;
    const agent = it.start();
    await online(it.port, FROM, agent);
    it.port.offer(it.release);
    await agent.waitForOutput(/this is a new version/, 30_000);
    assert.equal((await agent.stop()).code, 0);
    await waitFor('nobody to be left', () => processesOf(it.host).length === 0);
    assert.deepEqual(await filesOf(it.host), { names: ALONE, version: FROM });
    const record = await readUpgradeRecord(it.host.stateDir);
    assert.deepEqual([record?.refused, record?.last?.code, record?.current], [[], 'SHUTDOWN', undefined]);
  });

  test('everything killed once the new version is in place: the next start is one, and settles', async (t) => {
    const it = await setting(t);
    it.port.accepts = ({ agentVersion, trial }) => agentVersion === FROM || trial === true;
    const agent = it.start();
    await online(it.port, FROM, agent);
    it.port.offer(it.release);
    await agent.waitForOutput(/this is a new version/, 30_000);
    for (const pid of processesOf(it.host)) process.kill(pid, 'SIGKILL');
    await agent.exited;
    assert.equal((await filesOf(it.host)).version, TO);
    it.port.accepts = () => true;
    const again = it.start();
    await said(it.port, 'done', again);
    assert.deepEqual(await filesOf(it.host), { names: ALONE, version: TO });
    assert.equal((await readUpgradeRecord(it.host.stateDir))?.current, undefined);
  });

  test('killed as it puts the new version in place, the next start begins again and gets there', async (t) => {
    const it = await setting(t);
    it.port.wished = it.release;
    // The link to the old version is there, the new one is not in its place yet.
    const agent = it.start({ TEST_KILL: `${FROM}:11:before` });
    assert.equal((await agent.exited).signal, 'SIGKILL');
    assert.equal((await filesOf(it.host)).version, FROM);
    const again = it.start();
    await said(it.port, 'done', again);
    assert.deepEqual(await filesOf(it.host), { names: ALONE, version: TO });
  });
});
