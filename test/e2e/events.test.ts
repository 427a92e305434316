/** Events of a real Docker Engine on their way to whoever follows them, over cuts and kills at each place of that way. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { dockerApi, testContainer } from '../support/docker.ts';
import type { Launched } from '../support/launcher.ts';
import { addHost, type Enrolled, type Server, startServer } from '../support/mesh.ts';
import { followEvents, type SseEvent } from '../support/sse.ts';
import { fileCleanup } from '../support/tmp.ts';

const shared = fileCleanup();
let server: Server;
let shed: Enrolled & { process: Launched };

before(async () => {
  server = await startServer(shared);
  shed = await addHost(shared, server, 'shed');
});

const of = (id: string) => (type: string) => (event: SseEvent) => event.event === type && event.data.subject === id;

test('what happens to a container is told within a second, and to whom it happened', async (t) => {
  const events = await followEvents(t, server.api, '/api/v1/events?type=container');
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
