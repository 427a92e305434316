/** A release from its key to a host, by the CLI and a real server; the agent is one that does as the test says. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { loadIdentity } from '../../agent/identity/state-dir.ts';
import { type Connection, connect } from '../../agent/link/connect.ts';
import { systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Hello } from '../../shared/messages/control.ts';
import { agentUpgrade, agentUpgradeStatus, releaseRead } from '../../shared/messages/release.ts';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { type Enrolled, enroll, restartServer, type Server, startServer, waitForState } from '../support/mesh.ts';
import { type TestRelease, testRelease, writeBuild } from '../support/releases.ts';
import { followEvents } from '../support/sse.ts';
import { type Cleanup, defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const HERE = { os: process.platform, arch: process.arch };
const shared = fileCleanup();
let dir: string;
let server: Server;
let host: Enrolled;

const key = () => join(dir, 'release.key');

before(async () => {
  dir = await tempDir(shared, 'releases');
  assert.equal((await cli('release', 'keygen', '--out', key())).exit.code, 0);
  server = await startServer(shared, { args: ['--release-key', `${key()}.pub`] });
  host = await enroll(shared, server, 'edge');
});

/** Without a server. */
async function cli(...args: string[]): Promise<CliRun> {
  return await runCliHere(args, { env: { HOME: dir } });
}

async function ask(...args: string[]): Promise<CliRun> {
  const env = { FAIRLEAD_SERVER: server.runtime.apiUrl, FAIRLEAD_API_TOKEN: server.adminToken, HOME: dir };
  return await runCliHere(args, { env });
}

async function done(run: Promise<CliRun>): Promise<string> {
  const { exit, stdout, transcript } = await run;
  assert.equal(exit.code, 0, transcript());
  return stdout;
}

/** A build that is signed by the key of the server. */
async function signed(version: string, sequence: number): Promise<{ root: string; release: TestRelease }> {
  const root = join(dir, version);
  const release = testRelease({ version, sequence, bytes: 2_000_000, ...HERE });
  await writeBuild(root, release);
  await done(cli('release', 'sign', root, '--key', key(), '--sequence', String(sequence)));
  return { root, release };
}

/** Connects as the host's agent. */
async function agent(cleanup: Cleanup, agentVersion: string, refused: number[] = []): Promise<Connection & Offers> {
  const offers: { release: { sequence: number } }[] = [];
  const hello: Hello = {
    ...{ versions: [1], agentVersion, instanceId: crypto.randomUUID(), hostname: 'edge', ...HERE },
    ...{ docker: { reachable: false }, policy: { allow: [], deny: [] }, capabilities: [agentUpgrade.name] },
    upgrade: { able: true, sequence: 0, refused },
  };
  const connection = await connect({
    ...{ identity: await loadIdentity(host.stateDir), clock: systemClock, hello },
    onStream: (stream) => stream.finish(),
    controls: new Map([[agentUpgrade.code, (value: unknown) => void offers.push(value as (typeof offers)[number])]]),
    httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0 }),
  });
  defer(cleanup, () => connection.session.destroy(new FairleadError('SHUTDOWN', 'the test is over')));
  await waitForState(server, 'edge', 'online');
  return { ...connection, offers };
}

/** Runs `agent upgrade edge --wait`. @returns once it waits */
async function waitingRun(): Promise<{ end: Promise<CliRun> }> {
  const looks = async () => {
    const { text } = await server.api.get('/metrics');
    const line = /^fairlead_http_requests_total\{method="GET",route="\/api\/v1\/hosts\/:host\/upgrade".*\} (\d+)$/m;
    return Number(line.exec(text)?.[1] ?? 0);
  };
  const before = await looks();
  const end = ask('agent', 'upgrade', 'edge', '--wait');
  await waitFor('the wait', async () => (await looks()) > before);
  return { end };
}

interface Offers {
  readonly offers: readonly { release: { sequence: number } }[];
}

test('a release is signed, added, offered, read, and found to run; each step can be seen', async (t) => {
  const { root, release } = await signed('0.9.0', 4);
  await done(cli('release', 'verify', root, '--release-key', `${key()}.pub`));
  const other = join(dir, 'other.key');
  await done(cli('release', 'keygen', '--out', other));
  const foreign = testRelease({ version: '0.9.0', sequence: 3, ...HERE });
  await writeBuild(join(dir, 'foreign'), foreign);
  await done(cli('release', 'sign', join(dir, 'foreign'), '--key', other, '--sequence', '3'));
  const refused = await ask('agent', 'release', 'add', join(dir, 'foreign'));
  assert.equal(refused.exit.code, 1);
  assert.match(refused.stderr, /not trusted.*RELEASE_INVALID/);

  const events = await followEvents(t, server.api, '/api/v1/events?type=upgrade');
  const edge = await agent(t, '0.8.0');
  assert.match((await ask('agent', 'upgrade', 'edge')).stderr, /there is no release/);
  assert.match(await done(ask('agent', 'release', 'add', root)), /0\.9\.0 \(4\) is ready.*verified by a key/);
  assert.match(await done(ask('agent', 'release', 'ls')), /4 +0\.9\.0 +ready/);
  const download = await server.api.get(`/download/${HERE.os}/${HERE.arch}/fairlead-agent.sig`);
  assert.equal(JSON.parse(download.text).sequence, 4);
  assert.ok((await server.api.get('/install.sh')).text.includes(release.signed.sha256));

  assert.equal(await done(ask('agent', 'upgrade', 'edge')), 'edge: 0.8.0 to 0.9.0, offered\n');
  await waitFor('the offer', () => edge.offers.length === 1);
  const { sha256, sequence, version } = release.signed;
  const read = edge.session.open(releaseRead, { sha256, offset: 0 });
  const executable = gunzipSync(await buffer(read.bytes));
  assert.equal(createHash('sha256').update(executable).digest('hex'), sha256);
  const say = (state: 'downloading' | 'trying') => {
    const facts = state === 'downloading' ? { receivedBytes: 1_000, totalBytes: 2_000_000 } : {};
    edge.session.sendControl(agentUpgradeStatus, { sequence, version, state, ...facts });
  };
  say('downloading');
  await events.next('its beginning', ({ event }) => event === 'upgrade.started');
  assert.match(await done(ask('host', 'show', 'edge')), /Upgrade: +to 0\.9\.0: downloading 1000 B of 1\.9 MiB/);
  assert.match((await ask('agent', 'release', 'rm', '4')).stderr, /edge is to run it.*CONFLICT/);
  say('trying');
  const waiting = await waitingRun();
  const next = await agent(t, '0.9.0');
  assert.equal(next.welcome.upgrade, undefined);
  assert.match(await done(waiting.end), /edge: done/);
  const end = await events.next('its end', ({ event }) => event === 'upgrade.done');
  assert.deepEqual(end.data.attributes, { from: '0.8.0', to: '0.9.0', sequence: '4' });
  assert.equal(end.data.host, 'edge');
  assert.match(await done(ask('agent', 'upgrades')), /edge +online +0\.9\.0 +0\.9\.0 +done/);
  assert.match(await done(ask('agent', 'upgrade', 'edge')), /runs 0\.9\.0 already/);
});

test('a wish outlives the server; what fails is said, not tried again, and can be taken back', async (t) => {
  const { root } = await signed('0.9.1', 5);
  const broken = await writeBuild(join(dir, 'broken'), testRelease({ version: '0.9.1', sequence: 5, ...HERE }));
  await done(cli('release', 'sign', join(dir, 'broken'), '--key', key(), '--sequence', '5'));
  await writeFile(join(broken, 'fairlead-agent.gz'), 'cut');
  assert.match((await ask('agent', 'release', 'add', join(dir, 'broken'))).stderr, /cannot read|RELEASE_INVALID/);
  await done(ask('agent', 'release', 'add', root));
  await waitForState(server, 'edge', 'offline');
  assert.match(await done(ask('agent', 'upgrade', 'edge')), /offered when it comes/);
  server = await restartServer(shared, server, 'kill', ['--release-key', `${key()}.pub`]);
  const edge = await agent(t, '0.9.0');
  assert.equal(edge.welcome.upgrade?.sequence, 5);
  const waiting = await waitingRun();
  const failure = { state: 'failed', code: 'TIMEOUT', detail: 'it did not connect' } as const;
  edge.session.sendControl(agentUpgradeStatus, { sequence: 5, version: '0.9.1', ...failure });
  const { exit, stderr } = await waiting.end;
  assert.equal(exit.code, 1);
  assert.match(stderr, /it did not connect \(TIMEOUT\)/);
  const again = await agent(t, '0.9.0', [5]);
  assert.equal(again.welcome.upgrade, undefined);
  const refused = await ask('agent', 'upgrade', 'edge');
  assert.match(refused.stderr, /in vain.*it did not connect.*CONFLICT/);
  assert.equal(again.offers.length, 0);
  assert.match((await ask('agent', 'upgrade', 'edge', '--cancel')).stderr, /NOT_FOUND/);
  await done(ask('agent', 'release', 'rm', '5'));
  const { body } = await server.api.get('/api/v1/agent-releases');
  assert.deepEqual(
    body.items.map(({ sequence }: { sequence: number }) => sequence),
    [4],
  );
  const actions = (await server.api.get('/api/v1/audit?limit=100')).body.items.map(
    (row: { action: string }) => row.action,
  );
  for (const action of ['release.add', 'release.upload', 'release.remove', 'host.upgrade', 'host.upgrade.failed']) {
    assert.ok(actions.includes(action), action);
  }
});
