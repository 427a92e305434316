/** Events of a real Docker Engine on their way to whoever follows them, over cuts and kills at each place of that way. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { runCliHere } from '../support/cli.ts';
import { dockerApi, testContainer } from '../support/docker.ts';
import { type Launched, launch } from '../support/launcher.ts';
import { addHost, type Enrolled, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { followEvents, type SseEvent } from '../support/sse.ts';
import { type Cleanup, defer, fileCleanup } from '../support/tmp.ts';
import { PATIENT_MS, waitFor } from '../support/wait.ts';

const shared = fileCleanup();
const ALL = '/api/v1/events';
let server: Server;
let shed: Enrolled & { process: Launched };
/** Whose Docker does not answer. */
let bare: Enrolled & { process: Launched };

before(async () => {
  server = await startServer(shared);
  shed = await addHost(shared, server, 'shed');
  bare = await addHost(shared, server, 'bare', ['--docker', '/nonexistent/docker.sock']);
});

const of = (id: string) => (type: string) => (event: SseEvent) => event.event === type && event.data.subject === id;
const typesOf = (events: readonly SseEvent[], id: string) =>
  events.filter(({ data }) => data.subject === id).map(({ event }) => event);

test('what happens to a container is told within a second, and to whom it happened', async (t) => {
  const events = await followEvents(t, server.api, `${ALL}?type=container`);
  assert.match(String(events.response.headers['content-type']), /^text\/event-stream/);
  assert.equal(events.response.headers['x-accel-buffering'], 'no');
  const { id, name } = await testContainer(t);
  const startedAt = performance.now();
  const started = await events.next('container.start', of(id)('container.start'));
  assert.ok(started.at - startedAt < 1_000, `${started.at - startedAt} ms`);
  assert.deepEqual([started.data.host, started.data.hostId], ['shed', shed.hostId]);
  assert.equal(started.data.attributes.name, name);
  await dockerApi('POST', `/containers/${id}/stop?t=5`);
  const died = await events.next('container.die', of(id)('container.die'));
  assert.equal(died.data.attributes.exitCode, '0');
  await events.next('container.stop', of(id)('container.stop'));
});

test('an agent that is killed and comes back loses nothing and repeats nothing', async (t) => {
  const events = await followEvents(t, server.api, `${ALL}?type=container&host=shed`);
  const { id, name } = await testContainer(t);
  await events.next('container.start', of(id)('container.start'));
  await shed.process.kill();
  await waitForState(server, 'shed', 'offline');
  // Not by a pause: when it is followed at once by its end, Docker itself may tell of both twice.
  for (const act of [`rename?name=${name}-x`, `rename?name=${name}`, 'kill']) {
    await dockerApi('POST', `/containers/${id}/${act}`);
  }
  shed = { ...shed, process: startAgent(shared, shed) };
  await events.next('container.die', of(id)('container.die'), PATIENT_MS);
  const expected = ['create', 'start', 'rename', 'rename', 'kill', 'die'].map((word) => `container.${word}`);
  assert.deepEqual(typesOf(events.events, id), expected);
  assert.deepEqual(
    events.events.filter(({ event }) => event === 'events.gap').map(({ data }) => data),
    [],
  );
  const ids = events.events.map((event) => Number(event.id));
  assert.deepEqual(
    ids,
    [...new Set(ids)].toSorted((a, b) => a - b),
  );
});

test('a client that is cut off goes on behind the last event that it has', async (t) => {
  const { id, name } = await testContainer(t, { start: false });
  const first = await followEvents(t, server.api, `${ALL}?type=container`);
  await dockerApi('POST', `/containers/${id}/start`);
  await first.next('container.start', of(id)('container.start'));
  const { lastId } = first;
  first.close();
  await dockerApi('POST', `/containers/${id}/rename?name=${name}-x`);
  await dockerApi('POST', `/containers/${id}/kill`);
  const second = await followEvents(t, server.api, `${ALL}?type=container`, { lastId });
  await second.next('container.die', of(id)('container.die'));
  assert.deepEqual(typesOf(second.events, id), ['container.rename', 'container.kill', 'container.die']);
  const page = await server.api.get(`/api/v1/hosts/shed/events?type=container.*&limit=500`, {
    headers: { accept: 'application/json' },
  });
  const kept = page.body.items.filter(({ subject }: { subject: string }) => subject === id);
  assert.deepEqual(kept.map(({ type }: { type: string }) => type).slice(0, 3), [
    'container.die',
    'container.kill',
    'container.rename',
  ]);
});

test('hosts come and go, change and leave, and a token with a scope sees what is of hosts in it now', async (t) => {
  const { body } = await server.api.post('/api/v1/api-tokens', { name: 'looker', role: 'viewer', tags: ['lab'] });
  const all = await followEvents(t, server.api, ALL);
  const scoped = await followEvents(t, server.api, ALL, { token: body.token });
  await server.api.request('PATCH', '/api/v1/hosts/bare', { body: { tags: ['lab'] } });
  await scoped.next('host.updated', ({ event, data }) => event === 'host.updated' && data.host === 'bare');
  await bare.process.stop();
  await scoped.next('host.offline', ({ event }) => event === 'host.offline');
  await server.api.request('PATCH', '/api/v1/hosts/bare', { body: { tags: ['away'] } });
  startAgent(t, bare, ['--docker', '/nonexistent/docker.sock']);
  const online = await all.next('host.online', ({ event }) => event === 'host.online', PATIENT_MS);
  assert.deepEqual([online.data.host, online.data.attributes.docker], ['bare', 'unreachable']);
  await server.api.post('/api/v1/hosts/bare/revoke', { reason: 'sold' });
  const revoked = await all.next('host.revoked', ({ event }) => event === 'host.revoked');
  assert.equal(revoked.data.attributes.reason, 'sold');
  await all.next('its end', ({ event, data }) => event === 'host.offline' && data.attributes.code === 'CERT_REVOKED');
  // It has been told all that came before.
  await waitFor('nothing more', () => scoped.events.length > 0 && all.events.length > scoped.events.length);
  assert.deepEqual(
    scoped.events.map(({ event, data }) => `${event} ${data.host}`),
    ['host.updated bare', 'host.offline bare'],
  );
});

/** Takes posts while it listens. */
async function receiver(cleanup: Cleanup) {
  const told: { type: string; subject: string | null }[] = [];
  const state = { isUp: true };
  const hook = createServer(async (request, response) => {
    const { events } = JSON.parse(await text(request));
    if (state.isUp) told.push(...events);
    response.writeHead(state.isUp ? 200 : 500).end();
  });
  await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve));
  defer(cleanup, () => {
    hook.closeAllConnections();
    hook.close();
  });
  return { told, state, url: `http://127.0.0.1:${(hook.address() as AddressInfo).port}/` };
}

test('a webhook gets what its receiver missed while it was down, and the CLI shows how it goes', async (t) => {
  const { told, state, url } = await receiver(t);
  const cli = async (...args: string[]) => {
    const base = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
    const run = await runCliHere([...base, ...args]);
    assert.equal(run.exit.code, 0, run.transcript());
    return run.stdout;
  };
  const made = await cli('webhook', 'create', url, '--name', 'chat', '--type', 'container', '--host', 'shed');
  const id = /^id: +(\S+)$/m.exec(made)?.[1] ?? assert.fail(made);
  assert.match(made, /^secret: +\S{43}$/m);
  assert.match(await cli('webhook', 'test', id), /it was taken/);
  state.isUp = false;
  const container = await testContainer(t);
  await waitFor('its failure', async () => / (retrying|failing) .*answered 500/.test(await cli('webhook', 'ls')));
  state.isUp = true;
  await dockerApi('POST', `/containers/${container.id}/kill`);
  // Others use the same Engine.
  const types = () => told.filter(({ subject }) => subject === container.id).map(({ type }) => type);
  await waitFor('the events', () => types().includes('container.die'));
  assert.equal(told[0]?.type, 'webhook.test');
  assert.deepEqual(types(), ['container.create', 'container.start', 'container.kill', 'container.die']);
  await cli('webhook', 'rm', id);
  assert.doesNotMatch(await cli('webhook', 'ls'), /chat/);
  const past = await cli('events', '--no-follow', '--since', '10m', '--type', 'container.die', '--host', 'shed');
  assert.match(past, new RegExp(`shed  container\\.die  ${container.name}`));
});

test('the CLI follows over a restart of the server', async (t) => {
  const args = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  const cli = launch(t, 'cli', [...args, 'events', '--type', 'container', '--json', '--since', '1m']);
  await cli.waitForOutput(/"type":"container\./, 20_000);
  const { id } = await testContainer(t);
  await cli.waitForOutput(new RegExp(`"type":"container\\.start".*${id}`));
  const ports = { apiPort: new URL(server.runtime.apiUrl).port, agentPort: new URL(server.runtime.agentUrl).port };
  await server.process.kill();
  await dockerApi('POST', `/containers/${id}/pause`);
  await cli.waitForOutput(/coming back/, 20_000);
  server = await startServer(shared, {
    ...{ dataDir: server.dataDir, apiPort: Number(ports.apiPort), agentPort: Number(ports.agentPort) },
  });
  await dockerApi('POST', `/containers/${id}/unpause`);
  await cli.waitForOutput(new RegExp(`"type":"container\\.unpause".*${id}`), 25_000);
  const lines = cli.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const types = lines.filter(({ subject }) => subject === id).map(({ type }) => type);
  assert.deepEqual(
    types,
    ['create', 'start', 'pause', 'unpause'].map((word) => `container.${word}`),
  );
});
