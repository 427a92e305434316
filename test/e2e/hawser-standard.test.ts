/** Agents of Hawser that listen are hosts like any other: dialled by a real server, before a real Docker Engine. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { systemClock } from '../../shared/clock.ts';
import { runCliHere } from '../support/cli.ts';
import {
  DOCKER_SOCKET,
  dockerApi,
  IDLE,
  requireDocker,
  TEST_IMAGE,
  TEST_LABEL,
  testContainer,
} from '../support/docker.ts';
import { programs, runClient, throughMesh } from '../support/docker-client.ts';
import { ExecClient } from '../support/exec-client.ts';
import { type StandardAgent, standardAgent } from '../support/hawser-standard-agent.ts';
import { enrollBy, restartServer, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';
import { testCa } from '../unit/certs/fixtures.ts';

const TOKEN = 'a-token-of-the-agent';
const cleanup = fileCleanup();
let server: Server;
let agent: StandardAgent;
let files: string;
/** Runs the CLI as the administrator. */
const cli = (...args: string[]) =>
  runCliHere([...args, '--server', server.runtime.apiUrl, '--api-token-file', join(files, 'admin')]);

const ways = () => ['--token-file', join(files, 'token'), '--ca-file', join(files, 'ca.pem')];

before(async () => {
  await requireDocker();
  const { ca } = await testCa(systemClock);
  const { certPem, keyPem } = await ca.issueServer({ publicHosts: ['127.0.0.1'], clock: systemClock });
  agent = await standardAgent(cleanup, { token: TOKEN, docker: DOCKER_SOCKET, tls: { key: keyPem, cert: certPem } });
  server = await startServer(cleanup);
  files = await tempDir(cleanup, 'files');
  await writeFile(join(files, 'admin'), server.adminToken);
  await writeFile(join(files, 'token'), `${TOKEN}\n`);
  await writeFile(join(files, 'ca.pem'), ca.certPem);
  const added = await cli('hawser', 'add', 'nas', '--url', agent.url, ...ways(), '--tag', 'lab');
  assert.equal(added.exit.code, 0, added.transcript());
  await waitForState(server, 'nas', 'online');
});

test('is a host with its name, and shows its token to nobody', async () => {
  const { body } = await server.api.get('/api/v1/hosts/nas');
  assert.deepEqual([body.kind, body.state, body.agentVersion], ['hawser-standard', 'online', '0.2.14']);
  assert.deepEqual([body.docker.reachable, body.tags], [true, ['lab']]);
  assert.ok(body.capabilities.includes('container.exec.run') && !body.capabilities.includes('host.metrics'));
  const shown = await cli('hawser', 'show', 'nas', '--json');
  assert.equal(JSON.parse(shown.stdout).online, true, shown.transcript());
  assert.ok(!shown.stdout.includes(TOKEN));
  assert.match((await cli('hawser', 'ls')).stdout, /nas +https:\S+ +online/);
  assert.deepEqual([...agent.tokens], [TOKEN]);
});

test('takes no plain HTTP unless it is agreed to, and no address that clouds give out credentials at', async () => {
  const add = (more: object) => server.api.post('/api/v1/hawser-hosts', { name: 'no', token: 'x', ...more });
  const plain = await add({ url: 'http://127.0.0.1:9' });
  assert.deepEqual([plain.status, plain.body.code], [400, 'VALIDATION']);
  assert.match(plain.body.detail, /insecureHttp/);
  assert.match((await add({ url: 'https://169.254.169.254/' })).body.detail, /credentials/);
  assert.match((await add({ url: 'https://u:p@nas:2376' })).body.detail, /no user/);
  assert.equal((await server.api.get('/api/v1/hosts/no')).status, 404);
});

test('lists, changes, logs and samples as any host', async () => {
  const container = await testContainer(cleanup, { cmd: ['sh', '-c', 'echo out; echo err >&2; exec sleep 1000'] });
  const at = `/api/v1/hosts/nas/containers/${container.name}`;
  const listed = await server.api.get('/api/v1/hosts/nas/containers');
  assert.ok(JSON.stringify(listed.body.items).includes(container.id));
  const missing = await server.api.get('/api/v1/hosts/nas/containers/no-such-container');
  assert.deepEqual([missing.status, missing.body.code], [404, 'CONTAINER_NOT_FOUND']);
  await waitFor('the log', async () => (await server.api.get(`${at}/logs`)).text.length === 8);
  assert.deepEqual((await server.api.get(`${at}/logs`)).text.split('\n').sort(), ['', 'err', 'out']);
  const noLog = await server.api.get('/api/v1/hosts/nas/containers/no-such-container/logs');
  assert.equal(noLog.status, 404);
  assert.equal(JSON.parse((await server.api.get(`${at}/stats?stream=0`)).text).name, `/${container.name}`);
  const idle = agent.connections.size;
  const followed = await server.api.open('GET', `${at}/logs?follow=1`);
  await once(followed, 'readable');
  followed.destroy();
  await waitFor('the end of the stream', () => agent.connections.size <= idle, { timeoutMs: 1_500 });
  assert.equal((await server.api.post(`${at}/kill`)).status, 204);
  const events = await server.api.get('/api/v1/events?limit=100', { headers: { accept: 'application/json' } });
  assert.match(events.text, /host\.online/);
});

test('runs commands, with a terminal and without', async () => {
  const { name } = await testContainer(cleanup);
  const script = 'echo out; echo err >&2; echo $A; pwd; exit 7';
  const plain = await ExecClient.open(server.api, 'nas', name, {
    ...{ cmd: ['sh', '-c', script], separate: true, env: ['A=b'], workdir: '/tmp' },
  });
  await plain.closed;
  assert.deepEqual([plain.output, plain.stderr, plain.exitCode], ['out\nb\n/tmp\n', 'err\n', 7]);

  const shell = await ExecClient.open(server.api, 'nas', name, {
    ...{ cmd: ['sh', '-i'], tty: true, cols: 100, rows: 30, workdir: '/tmp' },
  });
  shell.type('stty size\n');
  await shell.waitForOutput(/30 100/);
  shell.control({ resize: { cols: 132, rows: 43 } });
  await waitFor('the size', async () => {
    shell.type('stty size | tr " " x\n');
    return /43x132/.test(shell.output);
  });
  shell.type('exit 5\n');
  await shell.closed;
  assert.equal(shell.exitCode, 5);

  const input = await ExecClient.open(server.api, 'nas', name, { cmd: ['head', '-n', '1'] });
  input.type('one line\nand another\n');
  await input.closed;
  assert.deepEqual([input.output, input.exitCode], ['one line\n', 0]);

  const ran = await server.api.post(`/api/v1/hosts/nas/containers/${name}/exec`, { cmd: ['sh', '-c', script] });
  assert.deepEqual([ran.body.exitCode, ran.body.stdout, ran.body.stderr], [7, 'out\n\n/\n', 'err\n'], ran.text);

  const missing = await server.api.webSocket('/api/v1/hosts/nas/containers/no-such-container/exec?cmd=sh&tty=1');
  missing.on('error', () => undefined);
  const [, response] = (await once(missing, 'unexpected-response')) as [unknown, IncomingMessage];
  assert.equal(response.statusCode, 404);
  missing.terminate();
});

test('serves an unmodified docker CLI, uploads and terminals included', async () => {
  const [docker = ''] = await programs('docker');
  const target = await throughMesh(cleanup, server, 'nas');
  const run = (...args: string[]) => runClient(cleanup, target, [docker, ...args]);
  const name = `fl-hawser-std-${process.pid}`;
  defer(cleanup, () => dockerApi('DELETE', `/containers/${name}?force=1`));
  const created = await run('create', '--name', name, '--label', TEST_LABEL, '--network', 'none', TEST_IMAGE, ...IDLE);
  assert.equal(created.code, 0, created.stderr);
  assert.equal((await run('start', name)).stdout, `${name}\n`);
  await writeFile(join(files, 'payload'), 'payload');
  assert.equal((await run('cp', join(files, 'payload'), `${name}:/tmp/payload`)).code, 0);
  // Without -i the CLI sends no input, and where the agent is asked itself prints nothing and returns 0.
  const exec = await run('exec', name, 'sh', '-c', 'cat /tmp/payload; exit 4');
  assert.deepEqual([exec.stdout, exec.code], ['payload', 4], exec.stderr);
  const unknown = await run('exec', 'no-such-container', 'true');
  assert.match(unknown.stderr, /No such container/);
  const cut = run('exec', name, 'sh', '-c', 'sleep 987');
  await waitFor('the command', async () =>
    JSON.stringify(await dockerApi('GET', `/containers/${name}/top`)).includes('987'),
  );
  // What a killed agent leaves behind: an end like any other, and nobody to ask.
  agent.faults.refuses = 503;
  for (const socket of agent.connections) socket.destroy();
  const { code, stderr } = await cut.finally(() => {
    agent.faults.refuses = undefined;
  });
  assert.equal(code, 1, stderr);
  assert.match(stderr, /reset/);
  const attached = await run('attach', '--no-stdin', '--sig-proxy=false', name);
  assert.notEqual(attached.code, 0);
  assert.match(attached.stderr, /received 501/);
  assert.equal((await run('rm', '-f', name)).code, 0);
});

test('gives out and takes in whole tars, and says so of one that is cut off', async () => {
  const { name } = await testContainer(cleanup);
  const at = `/api/v1/hosts/nas/containers/${name}/archive`;
  assert.match((await server.api.get(`${at}?path=/etc/passwd`)).text, /guest:x:1000/);
  agent.faults.limitMs = 300;
  try {
    // The head of the answer has come long before: its end is all that can tell.
    await assert.rejects(
      server.api.post(`/api/v1/hosts/nas/docker/containers/${name}/wait`),
      /aborted|ECONNRESET|terminated/,
    );
  } finally {
    agent.faults.limitMs = 30_000;
  }
});

test('dials again after a restart, by what was changed, and no more once it is taken over or removed', async () => {
  await writeFile(join(files, 'other'), 'not-the-token');
  const wrong = await cli('hawser', 'set', 'nas', '--token-file', join(files, 'other'));
  assert.equal(wrong.exit.code, 0, wrong.transcript());
  await waitForState(server, 'nas', 'offline');
  await waitFor('the reason', async () =>
    /does not accept the token/.test((await cli('hawser', 'show', 'nas')).stdout),
  );
  await cli('hawser', 'set', 'nas', '--token-file', join(files, 'token'));
  await waitForState(server, 'nas', 'online');

  // fairlead-agent has enrolled for a host, and not connected yet, when the server is killed.
  const added = await cli('hawser', 'add', 'box', '--url', agent.url, ...ways());
  assert.equal(added.exit.code, 0, added.transcript());
  const { id } = (await server.api.get('/api/v1/hosts/box')).body;
  const offered = await cli('hawser', 'adopt', 'box', '--json');
  const enrolled = await enrollBy(cleanup, server, 'box', JSON.parse(offered.stdout).token);
  assert.equal(enrolled.hostId, id);
  server = await restartServer(cleanup, server, 'kill');
  await waitForState(server, 'nas', 'online');
  assert.equal((await waitForState(server, 'box', 'online'))['kind'], 'hawser-standard');
  startAgent(cleanup, enrolled);
  await waitFor('fairlead-agent to take the host over', async () => {
    const { body } = await server.api.get('/api/v1/hosts/box');
    return body.kind === 'native' && body.state === 'online';
  });
  assert.equal((await server.api.get('/api/v1/hosts/box/containers')).status, 200);
  assert.equal((await cli('hawser', 'show', 'box')).exit.code === 0, false);
  assert.match((await cli('hawser', 'adopt', 'box', '--status')).stdout, /has taken the host over/);
  assert.equal((await cli('host', 'rm', 'nas')).exit.code, 0);
  await waitFor('the end of all connections', () => agent.connections.size === 0);
  assert.equal((await cli('hawser', 'show', 'nas')).exit.code === 0, false);
});
