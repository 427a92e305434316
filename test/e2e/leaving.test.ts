/** Ends that come from outside: clients, agents and servers that leave, are killed, freeze, and come back. */
import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { dockerApi, testContainer } from '../support/docker.ts';
import { DockerProxy } from '../support/docker-proxy.ts';
import { ExecClient } from '../support/exec-client.ts';
import type { Launched } from '../support/launcher.ts';
import {
  addHost,
  type Enrolled,
  restartServer,
  type Server,
  startAgent,
  startServer,
  waitForState,
} from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const GONE_MS = 1_000;
const shared = fileCleanup();
let server: Server;
let proxy: DockerProxy;
let agent: Enrolled & { process: Launched };

before(async () => {
  server = await startServer(shared);
  proxy = await DockerProxy.start(shared);
  agent = await addHost(shared, server, 'shed', ['--docker', proxy.path]);
});

/** A row that tells of a session taken over. */
interface Row {
  detail: { older: { instanceId: string }; newer: { instanceId: string } };
}

const route = (container: string, rest: string) => `/api/v1/hosts/shed/containers/${container}${rest}`;

async function runs(container: string, command: string): Promise<boolean> {
  const { body } = await dockerApi('GET', `/containers/${container}/top`);
  return JSON.stringify(body).includes(command);
}

test('a client that leaves ends its tail on the host within 1 s', async (t) => {
  const { id } = await testContainer(t, { cmd: ['sh', '-c', 'while :; do echo tick; sleep 0.1; done'] });
  const silent = await testContainer(t);
  for (const container of [id, silent.id]) {
    const response = await server.api.open('GET', route(container, '/logs?follow=1'));
    response.resume();
    response.on('error', () => undefined); // the end that this test brings about
    await waitFor('the tail on the host', () => proxy.open('/logs?') === 1);
    response.destroy();
    await waitFor('the end of the tail on the host', () => proxy.open('/logs?') === 0, { timeoutMs: GONE_MS });
  }
});

test('a client that leaves ends its exec on the host within 1 s', async (t) => {
  const { id } = await testContainer(t);
  for (const tty of [false, true]) {
    const command = `sleep ${tty ? 71717 : 72727}`;
    const exec = await ExecClient.open(server.api, 'shed', id, { cmd: command.split(' '), tty });
    await waitFor('the process in the container', () => runs(id, command));
    exec.webSocket.terminate();
    await waitFor('the end of the process', async () => !(await runs(id, command)), { timeoutMs: GONE_MS });
  }
});

test('a killed agent takes its host offline at once, and back when it returns', async (t) => {
  const { id } = await testContainer(t);
  const response = await server.api.open('GET', route(id, '/logs?follow=1&resume=0'));
  const ended = new Promise<string>((resolve) => {
    response.once('error', () => resolve('error'));
    response.once('end', () => resolve('end'));
    response.resume();
  });
  await agent.process.kill();
  await waitForState(server, 'shed', 'offline', 2_000);
  assert.equal(await ended, 'error', 'an interrupted log must not look complete');
  const answer = await server.api.get('/api/v1/hosts/shed/containers');
  assert.deepEqual([answer.status, answer.body.code], [503, 'HOST_OFFLINE']);
  agent = { ...agent, process: startAgent(shared, agent, ['--docker', proxy.path]) };
  await waitForState(server, 'shed', 'online');
  assert.equal((await server.api.get('/api/v1/hosts/shed/containers')).status, 200);
});

test('a killed server comes back and so do its hosts, by themselves', async () => {
  server = await restartServer(shared, server, 'kill');
  await waitForState(server, 'shed', 'online');
  assert.equal((await server.api.get('/api/v1/hosts/shed/containers')).status, 200);
  server = await restartServer(shared, server, 'stop');
  await waitForState(server, 'shed', 'online');
});

test('a half-open session is replaced at once by a new one of the same host', async (t) => {
  // The frozen agent neither answers nor closes: to the server its session looks alive until silence tells.
  const twin: Enrolled = { ...agent, stateDir: join(await tempDir(t, 'twin'), 'state') };
  await cp(agent.stateDir, twin.stateDir, { recursive: true, filter: (path) => !path.endsWith('run.json') });
  const connectedAt = async () => (await server.api.get('/api/v1/hosts/shed')).body.connectedAt;
  const before = await connectedAt();
  agent.process.signal('SIGSTOP');
  const replacement = startAgent(t, twin);
  await waitFor('the new session', async () => (await connectedAt()) > before, { timeoutMs: 8_000 });
  assert.equal((await server.api.get('/api/v1/hosts/shed/info')).status, 200);
  await replacement.stop();
  agent.process.signal('SIGCONT');
  await waitForState(server, 'shed', 'online');
});

test('two agents with one certificate do not chase each other away for ever', async (t) => {
  const twin: Enrolled = { ...agent, stateDir: join(await tempDir(t, 'twin'), 'state') };
  await cp(agent.stateDir, twin.stateDir, { recursive: true, filter: (path) => !path.endsWith('run.json') });
  const second = startAgent(t, twin);
  await agent.process.waitForOutput(/REPLACED/);
  await waitForState(server, 'shed', 'online');
  const connections = (launched: Launched) => launched.stderr.split('"connected"').length;
  const count = connections(second) + connections(agent.process);
  await waitFor('a while', () => false, { timeoutMs: 3_000, everyMs: 500 }).catch(() => undefined);
  assert.ok(connections(second) + connections(agent.process) - count <= 2, 'they flap');
  const { items } = (await server.api.get('/api/v1/audit?limit=100&action=session.replace')).body;
  const told = items.filter((row: { target: string }) => row.target === agent.hostId).map(({ detail }: Row) => detail);
  assert.ok(told.length > 0, 'that one took over from another is in the audit log');
  for (const { older, newer } of told) assert.notEqual(older.instanceId, newer.instanceId);
  await second.stop();
  await waitForState(server, 'shed', 'online');
});

test('an agent that is stopped drains and exits with 0; its host is offline at once', async () => {
  assert.deepEqual(await agent.process.stop(), { code: 0, signal: null });
  await waitForState(server, 'shed', 'offline', 2_000);
});
