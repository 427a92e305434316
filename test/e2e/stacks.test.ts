/** Stacks by API and CLI, on the real Engine, by Compose 2 and Compose 1, and on a host that has neither. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { removeProject } from '../support/compose-projects.ts';
import { dockerApi, requireDocker, sharedDocker, TEST_IMAGE, TEST_LABEL } from '../support/docker.ts';
import { programs } from '../support/docker-client.ts';
import { launch } from '../support/launcher.ts';
import type { Link } from '../support/link-emulator.ts';
import { linkAgent } from '../support/linked-agent.ts';
import { type Enrolled, enroll, type Server, startServer, waitForState } from '../support/mesh.ts';
import { type Cleanup, defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { contentOf, fillVolume } from '../support/volumes.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;
let modern: Enrolled;
/** Of the host modern. */
let link: Link;

before(async () => {
  await requireDocker();
  server = await startServer(shared);
  const [compose] = await programs('docker-compose');
  assert.ok(compose, 'docker-compose is not installed');
  const old = await programDir({ node: process.execPath, 'docker-compose': compose });
  const bare = await programDir({ node: process.execPath });
  [modern] = await Promise.all([
    host('modern', process.env['PATH'] ?? ''),
    host('old', old, ['--deny', 'docker:POST /networks/create']),
    host('bare', bare),
  ]);
});

/** A directory with these programs and no others. */
async function programDir(found: Record<string, string>): Promise<string> {
  const dir = await tempDir(shared, 'path');
  for (const [name, program] of Object.entries(found)) await symlink(program, join(dir, name));
  return dir;
}

/** A host whose agent finds programs in `path` alone. */
async function host(name: string, path: string, args: readonly string[] = []): Promise<Enrolled> {
  const agent = await enroll(shared, server, name);
  if (name === 'modern') link = await linkAgent(shared, server, agent, { rate: 1e9, delayMs: 0 });
  launch(shared, 'agent', ['run', '--state-dir', agent.stateDir, ...args], { env: { PATH: path } });
  await waitForState(server, name, 'online');
  return agent;
}

function fairlead(...args: string[]): Promise<CliRun> {
  const connection = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  return runCliHere([...connection, 'stack', ...args]);
}

/** As `fairlead`, for what must go well. @returns what it printed */
async function stack(...args: string[]): Promise<string> {
  const run = await fairlead(...args);
  assert.equal(run.exit.code, 0, run.transcript());
  return run.stdout;
}

/** A name of its own; what is left of its stack is removed after the test. */
function newStack(cleanup: Cleanup): string {
  const name = `fl-test-${randomBytes(4).toString('hex')}`;
  defer(cleanup, () => removeProject(sharedDocker, name));
  return name;
}

const SAYS = 'echo "$$WHO says $$TEXT"; trap "exit 0" TERM; sleep 1000 & wait';

function service(name: string, more = ''): string {
  return `  ${name}:
    image: ${TEST_IMAGE}
    pull_policy: never
    command: ["sh", "-c", ${JSON.stringify(SAYS)}]
    environment: {WHO: ${name}, TEXT: "\${TEXT}"}
    labels: {${TEST_LABEL}: "1"}
${more}`;
}

/** A file with one service that has a volume and no network. */
const ONE = `services:\n${service('web', '    network_mode: none\n    volumes: [data:/data]\n')}volumes: {data: {}}\n`;
const DOLLAR = '$';
const SECRET = `it's ${DOLLAR}HOME "hunter2" \\ ${DOLLAR}{PATH}`;

async function files(t: TestContext, compose: string, env = `TEXT=${quoted(SECRET)}\n`) {
  const dir = await tempDir(t, 'stack');
  await writeFile(join(dir, 'compose.yaml'), compose);
  await writeFile(join(dir, 'vars'), env);
  return { file: join(dir, 'compose.yaml'), vars: join(dir, 'vars') };
}

function quoted(value: string): string {
  return `"${value.replace(/[\\"$]/g, '\\$&')}"`;
}

const url = (name: string, rest = '') => `/api/v1/hosts/modern/stacks/${name}${rest}`;

/** The records of an answer, also of one that is broken off after the record that says why. */
async function lines(response: NodeJS.ReadableStream): Promise<Record<string, never>[]> {
  let text = '';
  try {
    for await (const chunk of response) text += chunk;
  } catch (error) {
    assert.match(text, /"error"/, String(error));
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

test('the whole life of a stack, by Compose 2: deployed, looked at, scaled, changed, rolled back, removed', async (t) => {
  const name = newStack(t);
  const { file, vars } = await files(t, ONE);
  const deployed = await fairlead('deploy', 'modern', name, '-f', file, '--env-file', vars);
  assert.equal(deployed.exit.code, 0, deployed.transcript());
  assert.equal(deployed.stdout, 'revision 1 is deployed\n');
  assert.match(deployed.stderr, /^up: Container .*-web-1 {2}Started$/m);
  const log = await waitFor('the log', async () => (await stack('logs', 'modern', name)) || undefined);
  assert.equal(log, `${name}-web-1 | web says ${SECRET}\n`);
  assert.match(await stack('ls', 'modern'), new RegExp(`^${name} +1/1 +web +1 `, 'm'));

  await stack('scale', 'modern', name, 'web=2');
  const { body } = await server.api.get(url(name));
  assert.deepEqual(body.services, [{ service: 'web', containers: 2, running: 2 }]);
  assert.deepEqual([body.managed, body.revision.revision, body.revision.env], [true, 1, ['TEXT']]);
  await stack('stop', 'modern', name);
  assert.match(await stack('status', 'modern', name), /services: +web 0\/2/);
  await stack('start', 'modern', name);
  await stack('restart', 'modern', name);

  const other = await files(t, ONE.replace('WHO: web', 'WHO: other'));
  await stack('deploy', 'modern', name, '-f', other.file, '--env-file', other.vars, '--prune');
  const diff = await stack('diff', 'modern', name, '1', '2');
  assert.match(diff, /^-.*WHO: web.*\n\+.*WHO: other/m);
  assert.equal(await stack('rollback', 'modern', name, '1'), 'revision 3 is deployed\n');
  assert.equal(await stack('redeploy', 'modern', name), 'revision 4 is deployed\n');
  assert.equal(await stack('show', 'modern', name), ONE);
  const history = await stack('history', 'modern', name);
  assert.match(history, /4 +deployed +redeploy of 3 .*\n3 +deployed +rollback of 1 .*\n2 +deployed +deploy .*\n1 /);
  const { body: detail } = await server.api.get(url(name));
  assert.match(detail.items[0].Labels['com.docker.compose.project'], new RegExp(name));

  await stack('rm', 'modern', name, '--volumes');
  assert.equal((await server.api.get(url(name))).status, 404);
  assert.equal((await dockerApi('GET', `/volumes/${name}_data`)).status, 404);
  assert.deepEqual((await readdir(join(modern.stateDir, 'compose'))).sort(), ['config', 'empty']);
  const audit = (await server.api.get(`/api/v1/audit?target=modern/${name}&limit=50`)).text;
  assert.match(audit, /stack\.rollback/);
  const shown = [history, diff, JSON.stringify(detail.revision), audit, deployed.stderr, server.process.stderr];
  for (const text of shown) assert.doesNotMatch(text, /hunter2/);
});

test('Compose 1, where there is no other, does the same', async (t) => {
  const name = newStack(t);
  const { file, vars } = await files(t, ONE);
  assert.equal(await stack('deploy', 'old', name, '-f', file, '--env-file', vars), 'revision 1 is deployed\n');
  const log = await waitFor('the log', async () => (await stack('logs', 'old', name)) || undefined);
  assert.equal(log, `${name}_web_1 | web says ${SECRET}\n`);
  const others = await fairlead('stop', 'old', 'fl-no-such-stack');
  assert.match(others.stderr, /there is no stack fl-no-such-stack on this host \(NOT_FOUND\)/);
  await stack('rm', 'old', name, '-v');
  assert.equal((await dockerApi('GET', `/volumes/${name}_data`)).status, 404);
});

test('a host without Compose says what to do; what is refused leaves no revision', async (t) => {
  const name = newStack(t);
  const body = { compose: ONE, env: { TEXT: 'x' } };
  const bare = await server.api.request('PUT', `/api/v1/hosts/bare/stacks/${name}`, { body });
  assert.deepEqual([bare.status, bare.body.code], [501, 'UNSUPPORTED']);
  assert.match(bare.body.detail, /this host has no Compose: install Docker Compose 2/);
  assert.equal((await server.api.get(`/api/v1/hosts/bare/stacks/${name}`)).status, 404);
  for (const [compose, why] of [
    [ONE.replace('pull_policy', 'no_such_key'), /the host's Compose does not take the Compose file: .*no_such_key/],
    [
      ONE.replace('[data:/data]', `["${DOLLAR}{TEXT}:/data"]`),
      /once its variables are put in: services\.web\.volumes\.0/,
    ],
    [ONE.replace('image:', 'build: .\n    image:'), /line 3: services\.web\.build: there is nothing to build from/],
    ['services: {web: {image: x}', /line 1/],
  ] as const) {
    const answer = await server.api.request('PUT', url(name), { body: { compose, env: { TEXT: './data' } } });
    assert.deepEqual([answer.status, answer.body.code], [400, 'VALIDATION'], answer.text);
    assert.match(answer.body.detail, why);
  }
  assert.equal((await server.api.get(url(name, '/revisions'))).status, 404);
});

test("Compose gets no more of Docker than the host's policy permits", async (t) => {
  const name = newStack(t);
  const compose = `services:\n${service('web')}`;
  const answer = await server.api.open('PUT', `/api/v1/hosts/old/stacks/${name}`, {
    body: { compose, env: { TEXT: 'x' } },
  });
  const records = await lines(answer);
  const { code, detail } = records.at(-1)?.['error'] ?? assert.fail(JSON.stringify(records));
  assert.equal(code, 'DENIED_BY_HOST', detail);
  const { body } = await server.api.get(`/api/v1/hosts/old/stacks/${name}`);
  assert.deepEqual([body.containers, body.latest.state, body.latest.code], [0, 'failed', 'DENIED_BY_HOST']);
});

/** A service that is never healthy, and one that waits for it: `up` goes on until it is ended. */
const STUCK = `services:\n${service('one', '    network_mode: none\n    healthcheck: {test: ["CMD", "false"], interval: 1s, retries: 600}\n')}${service('two', '    network_mode: none\n    depends_on: {one: {condition: service_healthy}}\n')}`;

test('one change at a time; who leaves ends Compose within a second, and it can be done again', async (t) => {
  const name = newStack(t);
  const leaving = new AbortController();
  const body = { compose: STUCK, env: { TEXT: 'x' } };
  const response = await server.api.open('PUT', url(name), { body, signal: leaving.signal });
  response.on('error', () => undefined);
  await waitFor('the first container', async () => {
    return (await server.api.get(url(name))).body.running > 0 ? true : undefined;
  });
  const second = await server.api.request('PUT', url(name), { body });
  assert.deepEqual([second.status, second.body.code], [409, 'CONFLICT']);
  assert.match(second.body.detail, /stack\.deploy by .+ since/);
  leaving.abort();
  const left = performance.now();
  const state = await waitFor('the end', async () => {
    const { latest, change } = (await server.api.get(url(name))).body;
    return change.state === 'running' || latest.state === 'deploying' ? undefined : latest;
  });
  assert.ok(performance.now() - left < 2_000, 'Compose ended too late');
  assert.deepEqual([state.state, state.code], ['failed', 'CANCELLED']);
  await stack('rm', 'modern', name);
});

test('a deployment whose link is cut is told as interrupted, goes on, and can be made again', async (t) => {
  const name = newStack(t);
  const body = { compose: STUCK.replace('"false"', '"test", "-e", "/ok"'), env: { TEXT: 'x' } };
  const records = lines(await server.api.open('PUT', url(name), { body }));
  const container = await waitFor('the first container', async () => {
    const { items } = (await server.api.get(url(name))).body;
    return items.find(({ State }: { State: string }) => State === 'running')?.Id;
  });
  await link.cut();
  const { code, detail } = (await records).at(-1)?.['error'] ?? assert.fail(JSON.stringify(await records));
  assert.equal(code, 'STREAM_INTERRUPTED', detail);
  const [revision] = (await server.api.get(url(name, '/revisions'))).body.items;
  assert.deepEqual([revision.revision, revision.state], [1, 'interrupted']);
  await waitForState(server, 'modern', 'online');
  const early = await server.api.request('PUT', url(name), { body });
  assert.deepEqual([early.status, early.body.code], [409, 'CONFLICT']);
  assert.match(early.body.detail, /stack\.deploy of the stack .* is in progress here/);
  const made = await dockerApi('POST', `/containers/${container}/exec`, { Cmd: ['touch', '/ok'] });
  await dockerApi('POST', `/exec/${made.body.Id}/start`, { Detach: true });
  await waitFor('what became of it', async () => {
    const found = (await server.api.get(url(name))).body;
    return found.revision?.revision === 1 && found.running === 2 ? true : undefined;
  });
  const again = await lines(await server.api.open('PUT', url(name), { body }));
  assert.deepEqual((again.at(-1)?.['result'] as { revision?: number } | undefined)?.revision, 2, JSON.stringify(again));
});

test('a stack of others is listed, and can be stopped', async (t) => {
  const name = newStack(t);
  const labels = { 'com.docker.compose.project': name, 'com.docker.compose.service': 'db', [TEST_LABEL]: '1' };
  const config = { Image: TEST_IMAGE, Cmd: ['sleep', '1000'], Labels: labels, HostConfig: { NetworkMode: 'none' } };
  const { body } = await dockerApi('POST', `/containers/create?name=${name}-db-1`, config);
  await dockerApi('POST', `/containers/${body.Id}/start`);
  const { items } = (await server.api.get('/api/v1/hosts/modern/stacks?limit=500')).body;
  const found = items.find((each: { name: string }) => each.name === name);
  assert.deepEqual([found.managed, found.revision, found.running], [false, null, 1]);
  const denied = await fairlead('pull', 'modern', name);
  assert.match(denied.stderr, /there is no stack .* that was deployed by Fairlead/);
});

test('the logs of all services come in order, and containers that come later join in', async (t) => {
  const name = newStack(t);
  const compose = `services:\n${service('one', '    network_mode: none\n')}${service('two', '    network_mode: none\n')}`;
  const body = { compose, env: { TEXT: 'hello' } };
  await lines(await server.api.open('PUT', url(name), { body }));
  const leaving = new AbortController();
  const response = await server.api.open('GET', url(name, '/logs?follow=1'), {
    headers: { accept: 'application/x-ndjson' },
    signal: leaving.signal,
  });
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  response.on('error', () => undefined);
  const seen = () =>
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line || '{}'));
  await waitFor('both', async () => seen().length >= 2 || undefined);
  await server.api.post(url(name, '/scale'), { services: { one: 2 } });
  const found = await waitFor('the third', async () => (seen().length >= 3 ? seen() : undefined));
  assert.deepEqual(found.map(({ container }) => container.slice(name.length)).sort(), ['-one-1', '-one-2', '-two-1']);
  assert.match(found[2].id, /^[0-9a-f]{64}$/);
  assert.deepEqual(found[2], {
    ...{ service: 'one', container: `${name}-one-2`, stream: 'stdout', line: 'one says hello' },
    ...{ id: found[2].id, time: found[2].time },
  });
  leaving.abort();
  await pause(0);
  const one = await server.api.get(url(name, '/logs?service=two&tail=1'));
  assert.equal(one.text, `${name}-two-1 | two says hello\n`);
  await stack('rm', 'modern', name);
});

test('a stack moves to another host with what is in its volume; what cannot move is told, or rolled back', async (t) => {
  const [name, moved] = [newStack(t), newStack(t)];
  const { file, vars } = await files(t, ONE);
  await stack('deploy', 'modern', name, '-f', file, '--env-file', vars);
  await fillVolume(t, `${name}_data`, [{ name: 'note', mode: 0o600, uid: 7, content: Buffer.from('kept') }]);
  const content = await contentOf(t, `${name}_data`);

  // One Engine for all: under its own name it is there already.
  const refused = await fairlead('migrate', 'modern', name, 'bare');
  assert.match(
    refused.stderr,
    /nothing was touched: \(1\) the target has a stack .*\(2\) .* volume/,
    refused.transcript(),
  );
  const bare = await fairlead('migrate', 'modern', name, 'bare', '--as', moved);
  assert.match(bare.stderr, /nothing was touched: \(1\) Compose of the target: this host has no Compose/);
  assert.match(await stack('status', 'modern', name), /services: +web 1\/1/);

  const run = await fairlead('migrate', 'modern', name, 'old', '--as', moved);
  assert.equal(run.exit.code, 0, run.transcript());
  assert.equal(run.stdout, `${moved} is on old with 1 volume, and is gone from modern\n`);
  assert.match(run.stderr, /^volumes: .*: done, \d+ bytes$/m);
  assert.deepEqual(await contentOf(t, `${moved}_data`), content);
  assert.equal((await dockerApi('GET', `/volumes/${name}_data`)).status, 404);
  assert.match(await stack('history', 'old', moved), /^1 +deployed +migrate of 1 /m);
  assert.match(await stack('status', 'old', moved), /services: +web 1\/1/);
  assert.equal((await server.api.get(url(name))).status, 404);

  // Its network is not permitted there, which shows as it is deployed.
  const back = newStack(t);
  const networked = await files(t, `services:\n${service('web', '    volumes: [data:/data]\n')}volumes: {data: {}}\n`);
  await stack('deploy', 'modern', name, '-f', networked.file, '--env-file', vars);
  const failed = await fairlead('migrate', 'modern', name, 'old', '--as', back);
  assert.equal(failed.exit.code, 1, failed.transcript());
  assert.match(failed.stderr, /deploy failed: .*; it was rolled back: the stack is at the source as before/);
  assert.match(await stack('status', 'modern', name), /services: +web 1\/1/);
  assert.equal((await dockerApi('GET', `/volumes/${back}_data`)).status, 404);
  assert.equal((await server.api.get(`/api/v1/hosts/old/stacks/${back}`)).status, 404);
  const audit = (await server.api.get('/api/v1/audit?limit=50')).text;
  for (const step of ['stop', 'volumes', 'verify', 'remove', 'done', 'deploy', 'undo', 'failed']) {
    assert.match(audit, new RegExp(`"stack\\.migrate\\.${step}"`));
  }
  assert.doesNotMatch(audit + run.stderr + failed.stderr, /hunter2/);
});
