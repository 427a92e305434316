/** Agents as they are installed, upgraded over the mesh by releases that are signed: to better ones, from bad ones, and back. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { type AgentBuild, nextBuild, plainBuild, releaseKeyFile } from '../support/agent-builds.ts';
import { requireDocker } from '../support/docker.ts';
import { type Launched, launchCommand } from '../support/launcher.ts';
import { type Enrolled, enroll, type Server, startServer, waitForState } from '../support/mesh.ts';
import { cliOf, copied, crashingScript, publish, publishScript, upgradeEnded, wish } from '../support/published.ts';
import { defer, fileCleanup } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;
let plain: AgentBuild;
let next: AgentBuild;
let keyFile: string;

before(async () => {
  await requireDocker();
  keyFile = await releaseKeyFile();
  [server, plain] = await Promise.all([
    startServer(shared, { args: ['--release-key', `${keyFile}.pub`] }),
    plainBuild(),
  ]);
  next = await nextBuild();
});

interface Installed extends Enrolled {
  readonly executable: string;
  start(env?: Record<string, string>): Launched;
}

/** An enrolled host with an executable in a folder of its own. */
async function install(t: TestContext, name: string, build: AgentBuild): Promise<Installed> {
  const host = await enroll(t, server, name);
  const executable = join(dirname(host.stateDir), 'bin', 'fairlead-agent');
  await mkdir(dirname(executable), { mode: 0o755 });
  await copyFile(build.file, executable);
  // A watcher, and what it has started, are no children of the test.
  defer(t, () => {
    for (const pid of processesOf(host)) process.kill(pid, 'SIGKILL');
  });
  // The other one has the key in itself.
  const keys = build === plain ? ['--release-key', `${keyFile}.pub`] : [];
  const args = ['run', '--state-dir', host.stateDir, ...keys];
  return { ...host, executable, start: (env = {}) => launchCommand(t, executable, args, { env }) };
}

function processesOf({ stateDir }: Enrolled): number[] {
  const list = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n');
  return list.filter((line) => line.includes(stateDir)).map((line) => Number.parseInt(line, 10));
}

async function showsContainers(name: string): Promise<void> {
  const { status, body, text } = await server.api.get(`/api/v1/hosts/${name}/docker/containers/json`);
  assert.ok(status === 200 && Array.isArray(body), text);
}

async function hostOf(name: string) {
  return (await server.api.get(`/api/v1/hosts/${name}`)).body;
}

/** Wishes a release and waits until its upgrade has ended. */
async function upgrade(name: string, sequence: number, agent: Launched) {
  await wish(server, name, sequence);
  return await upgradeEnded(server, name, () => agent.transcript());
}

/** Only the agent is left of all processes, and only its executable of all files. */
async function isTidy({ executable, ...host }: Installed, pid?: number): Promise<void> {
  await waitFor('the watcher to be gone', () => processesOf(host).length === 1);
  if (pid !== undefined) assert.deepEqual(processesOf(host), [pid]);
  await waitFor('the files to be gone', async () => (await readdir(dirname(executable))).length === 1);
}

test('to a newer version and back, in place, and not by what cannot connect', { timeout: 240_000 }, async (t) => {
  await publish(server, await copied(t, next), 10);
  const host = await install(t, 'alpha', plain);
  const agent = host.start();
  await waitForState(server, 'alpha', 'online');
  await showsContainers('alpha');
  await cliOf(server, 'agent', 'upgrade', 'alpha', '--sequence', '10', '--wait', '--yes');
  await waitForState(server, 'alpha', 'online');
  assert.equal((await hostOf('alpha')).agentVersion, next.facts.version);
  await showsContainers('alpha');
  await isTidy(host, agent.pid);

  const { connectedAt } = await hostOf('alpha');
  const nowhere = `#!/bin/sh\nHTTPS_PROXY=http://127.0.0.1:9 exec '${next.file}' "$@"\n`;
  await publishScript(t, server, { version: '99.0.1', sequence: 11, script: nowhere });
  const failed = await upgrade('alpha', 11, agent);
  assert.deepEqual([failed.state, failed.error?.code], ['failed', 'CONFLICT']);
  assert.match(failed.error.detail, /the trial failed: it ended with 1/);
  assert.equal((await hostOf('alpha')).connectedAt, connectedAt);
  const again = await upgrade('alpha', 11, agent);
  assert.equal(again.state, 'refused');
  assert.match(again.error.detail, /has failed here and is not tried again/);
  await isTidy(host, agent.pid);

  const older = await copied(t, plain);
  await publish(server, older, 12);
  const refused = await server.api.post('/api/v1/hosts/alpha/upgrade', { sequence: 12 });
  assert.match(refused.body.detail, /is older and was not signed as a downgrade/);
  await publish(server, older, 13, '--downgrade', '--force');
  assert.equal((await upgrade('alpha', 13, agent)).state, 'done');
  assert.equal((await hostOf('alpha')).agentVersion, plain.facts.version);
  await showsContainers('alpha');
  await isTidy(host, agent.pid);
  const { stdout } = await statusOf(host);
  assert.match(stdout, /^upgrade +done, version .* \(sequence 13\)/m);
  assert.match(stdout, /^not again +99\.0\.1 \(sequence 11\)$/m);
  assert.deepEqual(await agent.stop(), { code: 0, signal: null });
});

test('a version that connects when it is tried and then ends at once makes way again', {
  timeout: 120_000,
}, async (t) => {
  for (const [name, version, sequence] of [
    ['beta', '99.1.0', 20],
    ['gamma', '99.1.1', 21],
  ] as const) {
    const script = crashingScript(`'${next.file}'`, next.facts.version, version);
    await publishScript(t, server, { version, sequence, script });
    const host = await install(t, name, next);
    const supervised = name === 'gamma';
    const env: Record<string, string> = supervised ? { FAIRLEAD_SUPERVISED: '1' } : {};
    const agent = host.start(env);
    await waitForState(server, name, 'online');
    await wish(server, name, sequence);
    assert.equal((await agent.exited).code, 1);
    if (supervised) {
      await waitFor('the watcher to be gone', () => processesOf(host).length === 0, { timeoutMs: 20_000 });
      host.start(env);
    }
    const { state, error } = await upgradeEnded(server, name, () => agent.transcript());
    assert.equal(state, 'failed');
    assert.match(error.detail, /it ended before it had settled/);
    await waitForState(server, name, 'online');
    assert.equal((await hostOf(name)).agentVersion, next.facts.version);
    await showsContainers(name);
    await isTidy(host);
  }
});

async function statusOf({ executable, stateDir }: Installed) {
  return { stdout: execFileSync(executable, ['status', '--state-dir', stateDir], { encoding: 'utf8' }) };
}
