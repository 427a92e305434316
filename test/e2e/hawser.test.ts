/** Unmodified agents of Hawser become hosts like any other: over a real server and a real Docker Engine. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { after, before, test } from 'node:test';
import { removeProject } from '../support/compose-projects.ts';
import {
  dockerApi,
  IDLE,
  requireDocker,
  sharedDocker,
  TEST_IMAGE,
  TEST_LABEL,
  testContainer,
} from '../support/docker.ts';
import { programs, runClient, throughMesh } from '../support/docker-client.ts';
import { ExecClient } from '../support/exec-client.ts';
import { connectAgent, type HawserAgent } from '../support/hawser-agent.ts';
import { enrollBy, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { defer, fileCleanup } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const cleanup = fileCleanup();
let server: Server;
let agent: HawserAgent;
let token: { id: string; token: string; connectUrl: string };

before(async () => {
  await requireDocker();
  server = await startServer(cleanup);
  token = await newToken({ name: 'nas' });
  agent = connect(token.token, { capabilities: ['exec', 'metrics', 'events', 'compose'] });
  await agent.welcome;
  await waitForState(server, 'nas', 'online');
});
after(() => agent.kill());

async function newToken(body: object): Promise<{ id: string; token: string; connectUrl: string }> {
  const answer = await server.api.post('/api/hawser/tokens', body);
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
}

function connect(secret: string, options: object = {}, path = 'connect'): HawserAgent {
  const url = `${server.runtime.apiUrl.replace(/^https/, 'wss')}/api/hawser/${path}`;
  return connectAgent(cleanup, { url, token: secret, ca: server.caPem, ...options });
}

test('is a host with the name of its token', async () => {
  const { body } = await server.api.get('/api/v1/hosts/nas');
  assert.equal(body.kind, 'hawser-edge');
  assert.equal(body.state, 'online');
  assert.equal(body.certificate, null);
  assert.equal(body.agentVersion, '0.2.14');
  assert.equal(body.docker.reachable, true);
  assert.ok(body.capabilities.includes('container.list'));
  const status = await server.api.get('/api/hawser/connect');
  assert.equal(status.body.activeConnections, 1);
});

test('lists, inspects and changes containers', async () => {
  const container = await testContainer(cleanup);
  const listed = await server.api.get('/api/v1/hosts/nas/containers');
  assert.ok(
    listed.body.items.some(({ Id }: { Id: string }) => Id === container.id),
    listed.text,
  );
  const missing = await server.api.get('/api/v1/hosts/nas/containers/no-such-container');
  assert.equal(missing.status, 404);
  assert.equal(missing.body.code, 'CONTAINER_NOT_FOUND');
  const stopped = await server.api.post(`/api/v1/hosts/nas/containers/${container.name}/stop?t=5`);
  assert.equal(stopped.status, 204, stopped.text);
  const { body } = await server.api.get(`/api/v1/hosts/nas/containers/${container.name}`);
  assert.equal(body.State.Running, false);
});

test('reads logs of both sorts, and ends those that are left', async () => {
  const plain = await testContainer(cleanup, { cmd: ['sh', '-c', 'echo out; echo err >&2; sleep 1000'] });
  const tty = await testContainer(cleanup, { cmd: ['sh', '-c', 'echo on a terminal; sleep 1000'], tty: true });
  const text = async (name: string) => (await server.api.get(`/api/v1/hosts/nas/containers/${name}/logs`)).text;
  await waitFor(
    'both logs',
    async () => (await text(plain.name)).includes('err') && (await text(tty.name)).length > 10,
  );
  assert.deepEqual((await text(plain.name)).split('\n').sort(), ['', 'err', 'out']);
  assert.equal(await text(tty.name), 'on a terminal\r\n');
  const missing = await server.api.get('/api/v1/hosts/nas/containers/no-such-container/logs');
  assert.equal(missing.status, 404);

  const idle = agent.running;
  const followed = await server.api.open('GET', `/api/v1/hosts/nas/containers/${plain.name}/logs?follow=1`);
  await once(followed, 'readable');
  assert.equal(agent.running, idle + 1);
  followed.destroy();
  await waitFor('the end of the stream on the host', () => agent.running === idle, { timeoutMs: 1_500 });
});

test('samples statistics', async () => {
  const { name } = await testContainer(cleanup);
  const stats = await server.api.get(`/api/v1/hosts/nas/containers/${name}/stats?stream=0`);
  assert.equal(JSON.parse(stats.text).name, `/${name}`);
});

test('runs commands, with a terminal and without', async () => {
  const { name } = await testContainer(cleanup);
  const script = 'echo out; echo err >&2; echo $A; pwd; exit 7';
  const plain = await ExecClient.open(server.api, 'nas', name, {
    ...{ cmd: ['sh', '-c', script], separate: true, env: ['A=b'], workdir: '/tmp' },
  });
  await plain.closed;
  assert.deepEqual([plain.output, plain.stderr, plain.exitCode], ['out\nb\n/tmp\n', 'err\n', 7]);

  const shell = await ExecClient.open(server.api, 'nas', name, { cmd: ['/bin/sh'], tty: true, cols: 100, rows: 30 });
  await shell.waitForOutput(/# /);
  shell.type('stty size\n');
  await shell.waitForOutput(/30 100/);
  shell.control({ resize: { cols: 132, rows: 43 } });
  for (const key of 'stty size | tr " " x\n') shell.type(key);
  await shell.waitForOutput(/43x132/);
  shell.type('exit 5\n');
  await shell.closed;
  assert.equal(shell.exitCode, 5);

  const quick = await ExecClient.open(server.api, 'nas', name, { cmd: ['/bin/false'], tty: true });
  await quick.closed;
  assert.equal(quick.exitCode, 1);

  const missing = await server.api.webSocket('/api/v1/hosts/nas/containers/no-such-container/exec?cmd=sh&tty=1');
  const [, response] = (await once(missing, 'unexpected-response')) as [unknown, IncomingMessage];
  assert.equal(response.statusCode, 404);
  missing.on('error', () => undefined);
  missing.terminate();
});

test('ends the process of a terminal that is left', async () => {
  const { name } = await testContainer(cleanup);
  const idle = agent.running;
  const shell = await ExecClient.open(server.api, 'nas', name, { cmd: ['/bin/sh'], tty: true });
  await shell.waitForOutput(/# /);
  shell.type('sleep 333\n');
  const isRunning = async () =>
    JSON.stringify((await dockerApi('GET', `/containers/${name}/top`)).body).includes('sleep 333');
  await waitFor('the process', isRunning);
  shell.webSocket.terminate();
  await waitFor('the end of the process', async () => !(await isRunning()), { timeoutMs: 3_000 });
  await waitFor('the end of the exec', () => agent.running === idle, { timeoutMs: 3_000 });
});

test('serves an unmodified docker CLI', async () => {
  const [docker = ''] = await programs('docker');
  const target = await throughMesh(cleanup, server, 'nas');
  const run = (...args: string[]) => runClient(cleanup, target, [docker, ...args]);
  const name = `fl-hawser-${process.pid}`;
  const created = await run('create', '--name', name, '--label', TEST_LABEL, '--network', 'none', TEST_IMAGE, ...IDLE);
  defer(cleanup, () => dockerApi('DELETE', `/containers/${name}?force=1`));
  assert.equal(created.code, 0, created.stderr);
  assert.equal((await run('start', name)).stdout, `${name}\n`);
  const ran = await run('exec', name, 'sh', '-c', 'echo out; echo err >&2; exit 3');
  assert.deepEqual([ran.stdout, ran.stderr, ran.code], ['out\n', 'err\n', 3]);
  assert.match((await run('exec', '-i', name, 'cat')).stderr, /docker\.upgrade with input/);
  assert.match((await run('ps', '--filter', `name=${name}`)).stdout, new RegExp(name));
  assert.match((await run('inspect', 'no-such-thing')).stderr, /no such object/i);
  const copied = await run('cp', `${name}:/etc/passwd`, '-');
  assert.match(copied.stdout, /guest:x:1000/);
  const gone = await run('cp', `${name}:/no/such/file`, '-');
  assert.notEqual(gone.code, 0);
  assert.match(gone.stderr, /could not find/i);
  const upload = await run('cp', '-', `${name}:/tmp`);
  assert.match(upload.stderr, /uploads/);
  assert.equal((await run('wait', '--help')).code, 0);
  const stopped = await run('stop', '-t', '1', name);
  assert.equal(stopped.code, 0, stopped.stderr);
  assert.equal((await run('wait', name)).stdout.trim(), '0');
  assert.equal((await run('rm', name)).code, 0);
});

test('runs a command to its end, and gives files and images out as whole tars', async () => {
  const { name } = await testContainer(cleanup);
  const ran = await server.api.post(`/api/v1/hosts/nas/containers/${name}/exec`, {
    cmd: ['sh', '-c', 'echo out; echo err >&2; exit 3'],
  });
  const { exitCode, stdout, stderr } = ran.body;
  assert.deepEqual([exitCode, stdout, stderr], [3, 'out\n', 'err\n'], ran.text);
  const archive = await server.api.get(`/api/v1/hosts/nas/containers/${name}/archive?path=/etc/passwd`);
  assert.match(archive.text, /guest:x:1000/);
  const none = await server.api.get(`/api/v1/hosts/nas/containers/${name}/archive?path=/no/such`);
  assert.equal(none.status, 404, none.text);
  assert.match(none.body.detail, /could not find/i);
  const pulled = await server.api.post('/api/v1/hosts/nas/images/pull', { reference: 'localhost:9/no-such:1' });
  assert.match(pulled.text, /DOCKER_ERROR|NOT_FOUND/);
});

test('deploys a stack, shows it, reads its logs, and takes it back', async () => {
  const name = `fl-hawser-stack-${process.pid}`;
  const path = `/api/v1/hosts/nas/stacks/${name}`;
  defer(cleanup, () => removeProject(sharedDocker, name));
  const service = (word: string) => ({
    ...{ image: TEST_IMAGE, network_mode: 'none', labels: [TEST_LABEL], stop_grace_period: '1s' },
    command: ['sh', '-c', `echo ${word}; trap "exit 0" TERM; sleep 1000 & wait`],
  });
  const compose = JSON.stringify({ services: { web: service('$WORD'), db: service('stored') } });
  const deployed = await server.api.request('PUT', path, {
    body: { compose, env: { WORD: 'hello-world' } },
  });
  assert.match(deployed.text, /"revision":1,.*"state":"deployed"/, deployed.text);
  const { body } = await server.api.get(path);
  assert.deepEqual([body.running, body.change.state], [2, 'done']);
  await waitFor('both lines of the logs', async () => {
    const { text } = await server.api.get(`${path}/logs`);
    return text.includes('hello-world') && text.includes('stored');
  });
  const shown = await server.api.get(`${path}/revisions/1`);
  assert.ok(!shown.text.includes('hello-world'), shown.text);
  const scaled = await server.api.post(`${path}/scale`, { services: { web: 2 } });
  assert.equal(scaled.status, 204, scaled.text);
  assert.equal((await server.api.get(path)).body.running, 3);
  const other = JSON.stringify({ services: { web: service('other') } });
  const orphans = await server.api.request('PUT', path, { body: { compose: other } });
  assert.match(orphans.text, /\(db\).*prune/);
  const removed = await server.api.delete(path);
  assert.equal(removed.status, 204, removed.text);
  assert.equal((await server.api.get(path)).status, 404);
});

test('tells its events, and what it uses', async () => {
  const { id } = await testContainer(cleanup);
  await waitFor('the start of the container among the events', async () => {
    const { body } = await server.api.get('/api/v1/events?limit=100', { headers: { accept: 'application/json' } });
    return body?.items.some((event: Record<string, unknown>) => JSON.stringify(event).includes(id));
  });
  agent.send({
    type: 'metrics',
    timestamp: Math.floor(Date.now() / 1000),
    metrics: { cpuUsage: 12.5, cpuCores: 2, memoryTotal: 4096, memoryUsed: 1024, memoryFree: 3072, uptime: 77 },
  });
  await waitFor('the sample', async () => {
    const { body } = await server.api.get('/api/v1/hosts/nas/metrics');
    return JSON.stringify(body).includes('12.5');
  });
  const info = await server.api.get('/api/v1/hosts/nas/info');
  assert.equal(info.body.uptimeSeconds, 77, info.text);
});

test('tells what it cannot do', async () => {
  const browsed = await server.api.get('/api/v1/hosts/nas/volumes/any/files');
  assert.deepEqual([browsed.status, browsed.body?.code], [501, 'UNSUPPORTED'], browsed.text);
  assert.match(browsed.body.detail, /Hawser/);
});

test('ends the session of a token that is revoked, and of a host that is removed', async () => {
  const made = await newToken({ name: 'pi' });
  const other = connect(made.token, {}, 'edge');
  await other.welcome;
  const started = performance.now();
  assert.equal((await server.api.delete(`/api/hawser/tokens?id=${made.id}`)).status, 204);
  await other.closed;
  assert.ok(performance.now() - started < 1_000);
  assert.match(other.received.at(-1).error, /revoked/);
  await waitForState(server, 'pi', 'offline');
  assert.equal((await server.api.delete('/api/v1/hosts/pi')).status, 204);
  const refused = connect(made.token);
  await assert.rejects(refused.welcome, /unknown, expired or revoked/);
});

test('gives way to an agent of Fairlead, which takes the host over as it is', async () => {
  const made = await newToken({ name: 'moved' });
  const old = connect(made.token, { agentName: 'moved' });
  await old.welcome;
  await server.api.request('PATCH', '/api/v1/hosts/moved', { body: { tags: ['lab'] } });
  const before = (await server.api.get('/api/v1/hosts/moved')).body;
  const offered = await server.api.post('/api/v1/hosts/moved/adoption', { ttlSeconds: 600 });
  assert.equal(offered.status, 201, offered.text);
  assert.match(offered.body.enrollCommand, /^echo fle1\.\S+ \| fairlead-agent enroll --server https:.* --token -$/);
  const enrolled = await enrollBy(cleanup, server, 'another-name', offered.body.token);
  assert.equal(enrolled.hostId, before.id);
  const between = (await server.api.get('/api/v1/hosts/moved')).body;
  assert.deepEqual([between.kind, between.state], ['hawser-edge', 'online']);
  assert.equal((await server.api.get('/api/v1/hosts/moved/adoption')).body.state, 'enrolled');

  startAgent(cleanup, enrolled);
  await old.closed;
  assert.match(old.received.at(-1).error, /fairlead-agent has taken this host over/);
  const after = (await server.api.get('/api/v1/hosts/moved')).body;
  assert.deepEqual([after.id, after.kind, after.state, after.tags], [before.id, 'native', 'online', ['lab']]);
  assert.deepEqual([after.createdAt, after.docker.reachable], [before.createdAt, true]);
  assert.equal((await server.api.get('/api/v1/hosts/moved/containers')).status, 200);
  assert.equal((await server.api.get('/api/v1/hosts/moved/adoption')).body.state, 'done');
  const tokens = (await server.api.get('/api/hawser/tokens')).body.items;
  assert.equal(tokens.find(({ id }: { id: string }) => id === made.id).state, 'revoked');
  await assert.rejects(connect(made.token).welcome, /unknown, expired or revoked/);
});

test('keeps input in order that an agent would mix up', async () => {
  const made = await newToken({ name: 'mixed' });
  await connect(made.token, { isUnordered: true, agentName: 'mixed' }).welcome;
  const { name } = await testContainer(cleanup);
  const shell = await ExecClient.open(server.api, 'mixed', name, { cmd: ['/bin/sh'], tty: true });
  await shell.waitForOutput(/# /);
  const text = Array.from({ length: 60 }, (_, n) => `${n}`).join(' ');
  for (const key of `echo "<${text}>"\nexit\n`) shell.type(key);
  await shell.closed;
  assert.ok(shell.output.includes(`\n<${text}>`), shell.output);
});
