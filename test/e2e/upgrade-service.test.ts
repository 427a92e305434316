/** Upgrades of agents that a service manager supervises, as the installer has left them: by systemd, and by its own script. */
import assert from 'node:assert/strict';
import { before, type TestContext, test } from 'node:test';
import { type AgentBuild, copyBuild, nextBuild, plainBuild, releaseKeyFile } from '../support/agent-builds.ts';
import { type Machine, type MachineKind, startMachine } from '../support/machines.ts';
import { newToken, type Server, startServer, waitForState } from '../support/mesh.ts';
import { copied, crashingScript, publish, publishScript, upgradeEnded, wish } from '../support/published.ts';
import { requireRoots } from '../support/roots.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
const EXECUTABLE = '/var/lib/fairlead-agent/bin/fairlead-agent';
/** Of the agent, and of its watcher, by whichever name the file has. */
const PIDS = `for p in $(ls /proc); do case $p in *[!0-9]*) ;; *) case "$(readlink /proc/$p/exe)" in ${EXECUTABLE}*) echo $p ;; esac ;; esac; done`;
const CRASHING = { version: '99.1.0', sequence: 30 };
const BACK = 31;

let server: Server;
let next: AgentBuild;
let plain: AgentBuild;

before(async () => {
  next = await nextBuild();
  plain = await plainBuild();
  const filesDir = await tempDir(shared, 'agent-files');
  await copyBuild(next, filesDir);
  const key = `${await releaseKeyFile()}.pub`;
  [server] = await Promise.all([
    startServer(shared, { args: ['--agent-files', filesDir, '--release-key', key] }),
    requireRoots(),
  ]);
});

async function done(machine: Machine, script: string): Promise<string> {
  const { code, out } = await machine.sh(script);
  assert.equal(code, 0, `${machine.kind}: ${out}`);
  return out.trim();
}

/** One process, one executable, and that of the user that the installer made for it. */
async function isTidy(machine: Machine): Promise<string> {
  const pid = await waitFor(
    'one agent alone',
    async () => {
      const pids = (await done(machine, PIDS)).split('\n');
      return pids.length === 1 && pids[0] !== '' ? pids[0] : undefined;
    },
    { everyMs: 200 },
  );
  assert.equal(await done(machine, `stat -c '%a %U %n' ${EXECUTABLE}*`), `755 fairlead-agent ${EXECUTABLE}`);
  return pid;
}

async function installed(t: TestContext, kind: MachineKind): Promise<Machine> {
  const machine = await startMachine(t, kind);
  const { installCommand } = (await newToken(server, { hostName: kind })) as unknown as { installCommand: string };
  await done(machine, installCommand);
  await waitForState(server, kind, 'online');
  return machine;
}

/** From then on the server serves the newest of them to whoever installs. */
async function publishBoth(): Promise<void> {
  // By the agent that it is to replace, which stands where this is without its ending.
  const real = ['"', '{0%.next}"'].join('$');
  const script = crashingScript(real, next.facts.version, CRASHING.version);
  await publishScript(shared, server, { ...CRASHING, script });
  await publish(server, await copied(shared, plain), BACK, '--downgrade');
}

async function upgraded(machine: Machine): Promise<void> {
  const host = machine.kind;
  await wish(server, host, CRASHING.sequence);
  const { state, error } = await upgradeEnded(server, host);
  assert.deepEqual([state, error?.detail], ['failed', 'the new version was given up: it ended before it had settled']);
  const back = await waitForState(server, host, 'online');
  assert.equal(back['agentVersion'], next.facts.version);
  const pid = await isTidy(machine);

  await wish(server, host, BACK);
  assert.equal((await upgradeEnded(server, host)).state, 'done');
  const now = await waitForState(server, host, 'online');
  assert.equal(now['agentVersion'], plain.facts.version);
  assert.equal(await isTidy(machine), pid);
  if (host !== 'systemd') return;
  assert.equal(await done(machine, 'systemctl show -P MainPID fairlead-agent'), pid);
  assert.equal(await done(machine, 'systemctl is-active fairlead-agent'), 'active');
}

test('what crashes makes way, what works comes in place, and the service manager sees one service', {
  timeout: 300_000,
}, async (t) => {
  const kinds: MachineKind[] = ['systemd', 'none'];
  const machines = await Promise.all(kinds.map((kind) => installed(t, kind)));
  await publishBoth();
  await Promise.all(machines.map(upgraded));
});
