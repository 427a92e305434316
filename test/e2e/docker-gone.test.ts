/** An Engine that is stopped, absent from the start, and back: the host stays online and says what it knows. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { testContainer } from '../support/docker.ts';
import { DockerProxy } from '../support/docker-proxy.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
});

async function waitForDocker(host: string, reachable: boolean): Promise<void> {
  await waitFor(`docker.reachable of ${host} to be ${reachable}`, async () => {
    const { body } = await server.api.get(`/api/v1/hosts/${host}`);
    assert.equal(body.state, 'online');
    return body.docker.reachable === reachable;
  });
}

test('a stopped Engine: the host stays online, calls say DOCKER_UNREACHABLE, and it recovers by itself', async (t) => {
  const proxy = await DockerProxy.start(t);
  await addHost(t, server, 'shed', ['--docker', proxy.path]);
  const { id } = await testContainer(t);
  await waitForDocker('shed', true);
  const log = await server.api.open('GET', `/api/v1/hosts/shed/containers/${id}/logs?follow=1&resume=0`);
  const cut = new Promise<string>((resolve) => {
    log.once('error', () => resolve('error'));
    log.once('end', () => resolve('end'));
    log.resume();
  });
  proxy.stop();
  assert.equal(await cut, 'error', 'a log that Docker broke off must not look complete');
  const answer = await server.api.get('/api/v1/hosts/shed/containers');
  assert.deepEqual([answer.status, answer.body.code], [502, 'DOCKER_UNREACHABLE']);
  await waitForDocker('shed', false);
  const info = await server.api.get('/api/v1/hosts/shed/info');
  assert.equal(info.status, 200, info.text);
  assert.equal(info.body.docker.reachable, false);
  await proxy.listen();
  await waitForDocker('shed', true);
  const again = await server.api.get('/api/v1/hosts/shed/containers');
  assert.ok(again.body.items.some((one: { Id: string }) => one.Id === id));
});

test('no Engine from the start: the host comes online all the same', async (t) => {
  await addHost(t, server, 'bare', ['--docker', `${await tempDir(t)}/nothing.sock`]);
  await waitForDocker('bare', false);
  const answer = await server.api.get('/api/v1/hosts/bare/containers');
  assert.deepEqual([answer.status, answer.body.code], [502, 'DOCKER_UNREACHABLE']);
});
