/** Revocation: it counts only when traffic stops, and it lasts. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { testContainer } from '../support/docker.ts';
import { addHost, restartServer, type Server, startAgent, startServer } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';
import { within } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
});

test('a revoked host is cut off within 1 s, its agent says so and exits with 3, and it stays out', async (t) => {
  const agent = await addHost(t, server, 'outcast');
  const other = await addHost(t, server, 'other');
  const { id } = await testContainer(t);
  const log = await server.api.open('GET', `/api/v1/hosts/outcast/containers/${id}/logs?follow=1`);
  const cut = new Promise<string>((resolve) => {
    log.once('error', () => resolve('error'));
    log.once('end', () => resolve('end'));
    log.resume();
  });
  const revoked = await server.api.post('/api/v1/hosts/outcast/revoke', { reason: 'sold on the market' });
  assert.ok(revoked.status < 300, revoked.text);
  assert.equal(await within(1_000, 'the end of the stream', cut), 'error');
  const end = await within(3_000, 'the end of the agent', agent.process.exited, () => agent.process.transcript());
  assert.equal(end.code, 3, agent.process.transcript());
  assert.match(agent.process.stderr, /revoked/i);

  const host = (await server.api.get('/api/v1/hosts/outcast')).body;
  assert.equal(host.state, 'revoked');
  const list = await server.api.get('/api/v1/revocations');
  assert.ok(list.text.includes(host.certificate.serial), list.text);
  assert.match((await server.api.get('/api/v1/audit?limit=50')).text, /sold on the market/);

  const again = startAgent(t, agent);
  assert.equal((await again.exited).code, 3, again.transcript());
  server = await restartServer(shared, server, 'kill');
  const afterRestart = startAgent(t, agent);
  assert.equal((await afterRestart.exited).code, 3, afterRestart.transcript());
  assert.equal((await server.api.get('/api/v1/hosts/outcast')).body.state, 'revoked');
  assert.equal(other.process.exit, undefined, 'another host was cut off with it');
});

test('one serial can be revoked by itself', async (t) => {
  const agent = await addHost(t, server, 'by-serial');
  const { certificate } = (await server.api.get('/api/v1/hosts/by-serial')).body;
  const answer = await server.api.post(`/api/v1/certificates/${certificate.serial}/revoke`, { reason: 'leaked' });
  assert.ok(answer.status < 300, answer.text);
  const end = await within(3_000, 'the end of the agent', agent.process.exited, () => agent.process.transcript());
  assert.equal(end.code, 3, agent.process.transcript());
  const { body } = await server.api.get('/api/v1/certificates?limit=100');
  assert.equal(body.items.find((one: { serial: string }) => one.serial === certificate.serial).state, 'revoked');
});

test('a removed host is revoked as well, and its name is free again', async (t) => {
  const agent = await addHost(t, server, 'removed');
  assert.ok((await server.api.delete('/api/v1/hosts/removed')).status < 300);
  assert.equal((await agent.process.exited).code, 3, agent.process.transcript());
  assert.equal((await server.api.get('/api/v1/hosts/removed')).status, 404);
  await addHost(t, server, 'removed');
});
