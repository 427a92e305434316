/** Rollouts over a real server, with agents that answer as they are told: canary, halt, resume, restart, abort, and the CLI. */
import assert from 'node:assert/strict';
import https from 'node:https';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { launch } from '../support/launcher.ts';
import { restartServer, type Server, startServer, waitForState } from '../support/mesh.ts';
import { type TestReleaseOptions, testRelease } from '../support/releases.ts';
import { fileCleanup } from '../support/tmp.ts';
import { UpgradingAgent } from '../support/upgrading-agent.ts';
import { waitFor } from '../support/wait.ts';

const ROLLOUTS = '/api/v1/rollouts';
const AGENTS = 6;
const shared = fileCleanup();
let server: Server;
let agents: UpgradingAgent[];

before(async () => {
  server = await startServer(shared);
  agents = await Promise.all(
    Array.from({ length: AGENTS }, (_, i) => UpgradingAgent.join(shared, server, `edge-${i}`, i < 2 ? ['lab'] : [])),
  );
});

async function addRelease(options: TestReleaseOptions): Promise<void> {
  const release = testRelease({ bytes: 2_000, ...options });
  const added = await server.api.post('/api/v1/agent-releases', { files: [release.signed] });
  assert.equal(added.status, 201, added.text);
  const { sequence, os, arch } = release.signed;
  const url = new URL(`/api/v1/agent-releases/${sequence}/${os}/${arch}`, server.api.url);
  const headers = { authorization: `Bearer ${server.adminToken}`, 'content-type': 'application/gzip' };
  const status = await new Promise((resolve, reject) => {
    const request = https.request(url, { method: 'PUT', ca: server.caPem, agent: false, headers }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode));
    });
    request.once('error', reject).end(release.compressed);
  });
  assert.equal(status, 200);
}

async function start(body: object): Promise<string> {
  const made = await server.api.post(ROLLOUTS, { pauseSeconds: 0, ...body });
  assert.equal(made.status, 201, made.text);
  return made.body.id;
}

async function show(id: string) {
  return (await server.api.get(`${ROLLOUTS}/${id}`)).body;
}

async function command(id: string, verb: string): Promise<number> {
  return (await server.api.post(`${ROLLOUTS}/${id}/${verb}`)).status;
}

async function until(id: string, what: string, fits: (rollout: Awaited<ReturnType<typeof show>>) => boolean) {
  let last: unknown;
  const look = async () => {
    const rollout = await show(id);
    last = rollout;
    return fits(rollout) && rollout;
  };
  return await waitFor(what, look, {
    everyMs: 100,
    context: () => `${JSON.stringify(last)}\n${server.process.transcript()}`,
  });
}

function asked(): UpgradingAgent[] {
  return agents.filter(({ isAsked }) => isAsked);
}

async function untilAsked(count: number): Promise<UpgradingAgent[]> {
  return await waitFor(`${count} agents to be asked`, () => asked().length === count && asked(), {
    context: () => `${asked().length} are asked\n${server.process.transcript()}`,
  });
}

async function cli(...args: string[]): Promise<CliRun> {
  return await runCliHere([...cliOptions(), ...args]);
}

function cliOptions(): string[] {
  return ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
}

test('a canary goes first; failures halt it; resumed, it brings the release to all others', async () => {
  await addRelease({ version: '0.9.0', sequence: 1 });
  const id = await start({ select: { all: true }, stages: [{ hosts: 1 }, { percent: 100 }], parallel: 2 });
  const [canary] = await untilAsked(1);
  const other = await server.api.post(ROLLOUTS, { select: { hosts: ['edge-5'] } });
  assert.deepEqual([other.status, other.body.code], [409, 'CONFLICT'], other.text);
  const own = await server.api.post(`/api/v1/hosts/${canary?.name}/upgrade`, {});
  assert.equal(own.body.code, 'CONFLICT', own.text);
  const needed = await server.api.delete('/api/v1/agent-releases/1');
  assert.equal(needed.body.code, 'CONFLICT', needed.text);

  canary?.finish('done');
  const [first, second] = await untilAsked(2);
  assert.equal((await show(id)).stage, 2);
  first?.finish('failed');
  const halted = await until(id, 'the halt', ({ state }) => state === 'halted');
  assert.equal(halted.reason, '1 host has failed, and 0 may');
  second?.finish('done');
  const { figures } = await until(id, 'those under way to end', (one) => one.figures.asked === 0);
  assert.deepEqual([figures.done, figures.failed, figures.pending], [2, 1, 3]);
  assert.deepEqual(asked(), [], 'nobody is asked beyond the halt');
  const failed = await server.api.get(`${ROLLOUTS}/${id}/hosts?state=failed`);
  const facts = failed.body.items.map((row: Record<string, unknown>) => [row['host'], row['code'], row['detail']]);
  assert.deepEqual(facts, [[first?.name, 'RELEASE_INVALID', 'it does not start here']]);

  assert.equal(await command(id, 'resume'), 200);
  for (const left of [3, 2, 1]) (await untilAsked(Math.min(left, 2)))[0]?.finish('done');
  const done = await until(id, 'its end', ({ state }) => state === 'done');
  assert.deepEqual([done.figures.done, done.figures.failed], [5, 1]);
  assert.notEqual(done.endedAt, null);
  assert.equal(await command(id, 'resume'), 409);
  for (const { offers } of agents) assert.deepEqual(offers, [1], 'each was asked once');

  const headers = { accept: 'application/json' };
  // Events are written a moment after what they tell of.
  const types = await waitFor('the event of the end', async () => {
    const events = await server.api.get('/api/v1/events?type=rollout&limit=50', { headers });
    const told = events.body.items.map(({ type }: { type: string }) => type).reverse();
    return told.includes('rollout.done') && told;
  });
  assert.deepEqual(types, ['rollout.started', 'rollout.stage', 'rollout.halted', 'rollout.resumed', 'rollout.done']);
  const { items } = (await server.api.get('/api/v1/audit?limit=200')).body;
  const actions = items.map(({ action }: { action: string }) => action).filter((one: string) => /^rollout/.test(one));
  const wanted = ['rollout.create', 'rollout.stage', 'rollout.halt', 'rollout.resume', 'rollout.done'];
  assert.deepEqual(new Set(actions), new Set(wanted));
});

test('a restart of the server changes nothing; who is offline is waited for apart; aborted, it asks nobody any more', async (t) => {
  await addRelease({ version: '0.9.1', sequence: 2 });
  const away = agents[5];
  await away?.disconnect();
  await waitForState(server, 'edge-5', 'offline');
  const select = { hosts: ['edge-2', 'edge-3', 'edge-4', 'edge-5'] };
  const id = await start({ select, stages: [{ percent: 100 }], parallel: 2 });
  const before = await untilAsked(2);
  assert.deepEqual((await show(id)).figures.waiting, 1);

  const watching = launch(t, 'cli', [...cliOptions(), 'rollout', 'show', id, '--watch', '1']);
  await watching.waitForOutput(/^running/);
  server = await restartServer(shared, server, 'kill');
  await Promise.all(before.map(({ name }) => waitForState(server, name, 'online')));
  const after = await show(id);
  assert.deepEqual([after.state, after.figures.asked, after.figures.done], ['running', 2, 0]);
  assert.deepEqual(new Set(asked()), new Set(before), 'the same are under way, and no others');
  before[0]?.finish('done');
  const third = (await waitFor('a third', () => asked().find((one) => !before.includes(one)))) ?? before[0];
  assert.equal(await command(id, 'pause'), 200);
  before[1]?.finish('done');
  third?.finish('done');
  const paused = await until(id, 'those under way to end', ({ figures }) => figures.asked === 0);
  assert.deepEqual([paused.state, paused.figures.done], ['paused', 3]);

  assert.equal(await command(id, 'abort'), 200);
  const aborted = await show(id);
  assert.deepEqual([aborted.state, aborted.figures.cancelled], ['aborted', 1]);
  assert.notEqual(aborted.endedAt, null);
  assert.equal((await watching.exited).code, 1, watching.transcript());
  assert.match(watching.stdout, /aborted, stage 1 of 1: 3 done, 1 cancelled of 4\n$/);
  away?.connect();
  await waitForState(server, 'edge-5', 'online');
  assert.deepEqual(away?.offers, [1]);
});

test('a host that was offline is asked when it comes', async () => {
  const [, , , , , away] = agents;
  await away?.disconnect();
  await waitForState(server, 'edge-5', 'offline');
  const id = await start({ select: { hosts: ['edge-5'] } });
  assert.equal((await show(id)).figures.waiting, 1);
  away?.connect();
  await untilAsked(1);
  away?.finish('done');
  await until(id, 'its end', ({ state }) => state === 'done');
});

test('the CLI begins, shows and follows them', async () => {
  await addRelease({ version: '0.9.2', sequence: 3 });
  for (const agent of agents) agent.answer = 'done';
  const planned = await cli('rollout', 'start', '--tag', 'lab', '--plan', '--pause', '0', '--stages', '1,100%');
  assert.equal(planned.exit.code, 0, planned.transcript());
  const id = planned.stdout.trim();
  assert.match(
    (await cli('rollout', 'ls')).stdout,
    new RegExp(`^${id.slice(0, 8)}\\S* +0\\.9\\.2 +planned +1 of 2 +2 +0 +0`, 'm'),
  );
  assert.match((await cli('rollout', 'resume', id.slice(0, 8))).stdout, /is (running|done)/);
  const followed = await cli('rollout', 'show', id.slice(0, 8), '--watch', '1');
  assert.equal(followed.exit.code, 0, followed.transcript());
  assert.match(followed.stdout, /done, stage 2 of 2: 2 done of 2\n$/);
  const hosts = await cli('rollout', 'show', id, '--hosts');
  assert.match(hosts.stdout, /^edge-[01] +1 +done/m);
  const nothing = await cli('rollout', 'start', '--tag', 'lab');
  assert.deepEqual(
    [nothing.exit.code, /edge-|runs 0\.9\.2 already/.test(nothing.stderr)],
    [1, true],
    nothing.transcript(),
  );

  for (const silent of agents.slice(2, 4)) silent.answer = 'silent';
  const both = ['--host', 'edge-2', '--host', 'edge-3', '--stages', '1,100%'];
  const late = await cli('rollout', 'start', ...both, '--host-timeout', '5s', '--watch', '1');
  assert.equal(late.exit.code, 1, late.transcript());
  assert.match(
    late.stdout,
    /halted, stage 1 of 2: 1 pending, 1 failed of 2 \(1 host has failed, and 0 may\)\n$/,
    'a halt ends the wait: somebody has to look',
  );
  const shown = await cli('rollout', 'ls', '--json');
  const [newest] = JSON.parse(shown.stdout);
  assert.match(
    (await cli('rollout', 'show', newest.id)).stdout,
    /edge-[23] +1 +failed +the host did not come back .* within 5 s/,
  );
});
