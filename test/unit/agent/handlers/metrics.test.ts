/** host.metrics and host.stats as their handlers serve them over a session. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { isFairleadError } from '../../../../shared/errors.ts';
import { type ContainerUse, hostMetrics, hostStats } from '../../../../shared/messages/metrics.ts';
import { DOCKER_SOCKET, requireDocker, testContainer } from '../../../support/docker.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { serve } from './served.ts';

const INFO = { agentVersion: '1' };

test('a sample is about this machine, and the next one about the time between', async (t) => {
  const docker = await fakeDocker(t, (_request, response) => response.end('{}'));
  const engine = await engineAt(t, docker.socket);
  const served = await serve(t, { docker: engine, info: INFO, log: SILENT });
  const from = performance.now();
  const first = await served.call(hostMetrics, {});
  assert.ok(performance.now() - from >= 950, 'it takes a second');
  assert.ok((first.sample.memory?.totalBytes ?? 0) > 0 && (first.sample.cpu?.cores.length ?? 0) > 0);
  const next = await served.call(hostMetrics, { since: first.reading });
  assert.ok(next.reading > first.reading && next.sample.at >= first.sample.at);
});

test('who leaves ends the work on all containers within a second', async (t) => {
  let open = 0;
  const docker = await fakeDocker(t, (request, response) => {
    if (request.url?.startsWith('/containers/json')) {
      response.end(JSON.stringify(Array.from({ length: 100 }, (_, i) => ({ Id: `c${i}` }))));
      return;
    }
    open += 1;
    request.socket.once('close', () => {
      open -= 1;
    });
  });
  const engine = await engineAt(t, docker.socket);
  const served = await serve(t, { docker: engine, info: INFO, log: SILENT });
  const { stream, done, leave } = served.open(hostStats, {});
  await stream.reply;
  await waitFor('as many questions as there may be', () => open === 64);
  leave();
  await assert.rejects(within(1_000, 'the handler', done), (error) => isFairleadError(error, 'CANCELLED'));
  await waitFor('the end of all questions', () => open === 0, { timeoutMs: 1_000 });
});

test('a container that does not answer, or is gone, is told by its error beside the others', async (t) => {
  const docker = await fakeDocker(t, (request, response) => {
    const url = request.url ?? '';
    if (url.startsWith('/containers/json')) {
      const listed = ['good', 'gone', 'stuck', '../evil'].map((Id) => ({ Id, Names: [`/${Id}-name`] }));
      response.end(JSON.stringify(listed));
    } else if (url.includes('/stuck/')) {
      // never
    } else if (url.includes('/gone/')) {
      response.writeHead(404).end('{"message":"No such container: gone"}');
    } else response.end('{"pids_stats":{"current":2}}');
  });
  const clock = new FakeClock();
  const engine = await engineAt(t, docker.socket, clock);
  const served = await serve(t, { docker: engine, info: INFO, log: SILENT });
  const { stream, done } = served.open(hostStats, {});
  assert.equal((await stream.reply).count, 3);
  const found: ContainerUse[] = [];
  const reading = (async () => {
    for await (const item of stream.items()) found.push(item);
  })();
  let isOver = false;
  void reading.finally(() => {
    isOver = true;
  });
  await waitFor('the end', () => {
    if (!isOver) clock.advance(250);
    return isOver;
  });
  await done;
  const by = new Map(found.map((item) => [item.id, item]));
  assert.deepEqual(by.get('good'), { id: 'good', name: 'good-name', pids: 2 });
  assert.equal(by.get('gone')?.error?.code, 'CONTAINER_NOT_FOUND');
  assert.equal(by.get('stuck')?.error?.code, 'TIMEOUT');
  assert.equal(by.size, 3);
});

test('a policy that denies the calls for lists or statistics of containers denies them here, too', async (t) => {
  let asked = 0;
  const docker = await fakeDocker(t, (_request, response) => {
    asked += 1;
    response.end('[]');
  });
  for (const deny of ['docker:GET /containers/*/stats', 'docker:GET /containers/json']) {
    const engine = await engineAt(t, docker.socket, undefined, { allow: [], deny: [deny] });
    const served = await serve(t, { docker: engine, info: INFO, log: SILENT });
    await assert.rejects(served.open(hostStats, {}).done, { code: 'DENIED_BY_HOST' }, deny);
  }
  assert.equal(asked, 0);
  for (const allow of ['read-only', 'host.stats']) {
    const engine = await engineAt(t, docker.socket, undefined, { allow: [allow], deny: [] });
    const served = await serve(t, { docker: engine, info: INFO, log: SILENT });
    assert.equal((await served.call(hostStats, {})).count, 0, allow);
  }
});

describe('on the real Engine', () => {
  before(() => requireDocker());

  test('each running container has figures, a busy one those of a busy one', async (t) => {
    const busy = await testContainer(t, { cmd: ['sh', '-c', 'while :; do :; done'] });
    const idle = await testContainer(t);
    const stopped = await testContainer(t, { start: false });
    const engine = await engineAt(t, DOCKER_SOCKET);
    const served = await serve(t, { docker: engine, info: INFO, log: SILENT });
    const { stream } = served.open(hostStats, {});
    const found = new Map<string, ContainerUse>();
    for await (const item of stream.items()) found.set(item.id, item);
    assert.ok((found.get(busy.id)?.cpuPercent ?? 0) > (found.get(idle.id)?.cpuPercent ?? Number.NaN));
    assert.ok((found.get(idle.id)?.memory?.usedBytes ?? 0) > 0);
    assert.equal(found.get(idle.id)?.name, idle.name);
    assert.ok(!found.has(stopped.id));
  });
});
