import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { HANDLERS, type HandlerContext } from '../../../../agent/handlers/index.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import * as kinds from '../../../../shared/messages/container.ts';
import { hostInfo } from '../../../../shared/messages/host.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';
import { DOCKER_SOCKET, dockerApi, IDLE, type TestContainer, testContainer } from '../../../support/docker.ts';
import { fileCleanup } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { type Served, serve } from './served.ts';

const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

async function stateOf(container: TestContainer): Promise<{ Status: string; StartedAt: string; Pid: number }> {
  return (await dockerApi('GET', `/containers/${container.id}/json`)).body.State;
}

test('every kind that the server opens has a handler', () => {
  const served = STREAM_KINDS.filter(({ from }) => from !== 'agent');
  assert.deepEqual([...HANDLERS.keys()].sort(), served.map((kind) => kind.code).sort());
});

describe('handlers on the real Engine', () => {
  const cleanup = fileCleanup();
  let context: HandlerContext;
  let served: Served;

  before(async () => {
    context = { docker: await engineAt(cleanup, DOCKER_SOCKET), info: { agentVersion: '1.2.3' }, log: SILENT };
    served = await serve(cleanup, context);
  });

  test('host.info has the host and Docker', async () => {
    const info = await served.call(hostInfo, {});
    assert.equal(info.agentVersion, '1.2.3');
    assert.ok(info.cpus > 0 && info.memoryBytes > 0 && info.kernel !== '');
    assert.equal(info.docker.reachable, true);
    assert.equal(typeof info.dockerInfo?.['ServerVersion'], 'string');
  });

  test('container.list has running ones, and with `all` the others too, in Docker’s own words', async (t) => {
    const running = await testContainer(t);
    const created = await testContainer(t, { start: false });
    for (const all of [false, true]) {
      const { stream } = served.open(kinds.containerList, { all });
      const found: Record<string, unknown>[] = [];
      for await (const item of stream.items()) found.push(item);
      assert.equal((await stream.reply).count, found.length);
      const mine = found.find((item) => item['Id'] === running.id);
      assert.deepEqual(mine?.['Names'], [`/${running.name}`]);
      assert.equal(
        found.some((item) => item['Id'] === created.id),
        all,
      );
    }
  });

  test('container.inspect takes id and name, and drops what could harm', async (t) => {
    const container = await testContainer(t, { labels: { ['__proto__']: 'x', plain: 'y' }, start: false });
    const raw = await dockerApi('GET', `/containers/${container.id}/json`);
    assert.ok(Object.hasOwn(raw.body.Config.Labels, '__proto__'), 'Docker keeps the label');
    for (const id of [container.id, container.id.slice(0, 12), container.name]) {
      const found = await served.call(kinds.containerInspect, { id });
      assert.equal(found['Id'], container.id);
      const { Labels } = found['Config'] as { Labels: Record<string, string> };
      assert.equal(Labels['plain'], 'y');
      assert.equal(Object.hasOwn(Labels, '__proto__'), false);
    }
  });

  test('an unknown container is CONTAINER_NOT_FOUND for every kind', async () => {
    const id = 'no-such-container';
    for (const kind of STREAM_KINDS) {
      if (!('id' in kind.params.properties) || !kind.name.startsWith('container.')) continue;
      const more: Record<string, object> = {
        'container.exec.open': { cmd: ['true'] },
        'container.exec.run': { cmd: ['true'], timeoutMs: 5_000, maxOutputBytes: 10 },
        'container.archive.get': { path: '/' },
        'container.archive.put': { path: '/' },
        'container.rename': { name: 'x' },
      };
      const params = { id, ...more[kind.name] };
      await assert.rejects(served.call(kind, params as never), coded('CONTAINER_NOT_FOUND'), kind.name);
    }
  });

  test('start, pause, unpause, kill, stop, restart, remove', async (t) => {
    const container = await testContainer(t, { start: false });
    const { id } = container;
    const status = async () => (await stateOf(container)).Status;
    await served.call(kinds.containerStart, { id });
    assert.equal(await status(), 'running');
    await served.call(kinds.containerStart, { id });
    await served.call(kinds.containerPause, { id });
    assert.equal(await status(), 'paused');
    await assert.rejects(served.call(kinds.containerPause, { id }), coded('CONFLICT'));
    await served.call(kinds.containerUnpause, { id });
    await served.call(kinds.containerStop, { id, timeoutSeconds: 5 });
    assert.equal(await status(), 'exited');
    await served.call(kinds.containerStop, { id });
    await assert.rejects(served.call(kinds.containerKill, { id }), coded('CONFLICT'));
    await served.call(kinds.containerRestart, { id, timeoutSeconds: 0 });
    assert.equal(await status(), 'running');
    await assert.rejects(served.call(kinds.containerRemove, { id }), coded('CONFLICT'));
    await served.call(kinds.containerKill, { id, signal: 'TERM' });
    await waitFor('the end', async () => (await status()) === 'exited');
    await served.call(kinds.containerRemove, { id });
    assert.equal((await dockerApi('GET', `/containers/${id}/json`)).status, 404);
  });

  test('remove with force takes a running container', async (t) => {
    const { id } = await testContainer(t);
    await served.call(kinds.containerRemove, { id, force: true, volumes: true });
    assert.equal((await dockerApi('GET', `/containers/${id}/json`)).status, 404);
  });

  test('an unknown signal is Docker’s to refuse', async (t) => {
    const { id } = await testContainer(t);
    await assert.rejects(served.call(kinds.containerKill, { id, signal: 'NOPE' }), (error) => isFairleadError(error));
  });

  test('a repeated call with one idempotency key acts once', async (t) => {
    const container = await testContainer(t);
    const params = { id: container.id, timeoutSeconds: 0, idempotencyKey: `key-${container.name}` };
    await Promise.all([served.call(kinds.containerRestart, params), served.call(kinds.containerRestart, params)]);
    const { StartedAt, Pid } = await stateOf(container);
    await served.call(kinds.containerRestart, params);
    const after = await stateOf(container);
    assert.deepEqual([after.StartedAt, after.Pid], [StartedAt, Pid]);
    await assert.rejects(
      served.call(kinds.containerRestart, { ...params, timeoutSeconds: 1 }),
      coded('CONFLICT'),
      'one key for another call',
    );
    await served.call(kinds.containerRestart, { id: container.id, timeoutSeconds: 0 });
    assert.notEqual((await stateOf(container)).Pid, Pid);
  });

  test('container.top', async (t) => {
    const { id } = await testContainer(t, { cmd: IDLE });
    const top = await served.call(kinds.containerTop, { id });
    assert.ok(Array.isArray(top['Titles']) && Array.isArray(top['Processes']));
    const withArgs = await served.call(kinds.containerTop, { id, psArgs: '-o pid,comm' });
    assert.deepEqual(withArgs['Titles'], ['PID', 'COMMAND']);
  });

  test('container.stats: one sample, or a stream that ends with its reader', async (t) => {
    const { id } = await testContainer(t);
    const one = served.open(kinds.containerStats, { id, stream: false });
    const samples: unknown[] = [];
    for await (const item of one.stream.items()) samples.push(item);
    assert.equal(samples.length, 1);
    const many = served.open(kinds.containerStats, { id });
    let seen = 0;
    for await (const item of many.stream.items()) {
      assert.equal(item['id'], id);
      if (++seen === 2) break;
    }
    await within(1_000, 'the end of the handler', assert.rejects(many.done));
  });
});

describe('handlers when Docker fails', () => {
  test('without Docker: host.info says so, everything else is DOCKER_UNREACHABLE', async (t) => {
    const docker = await engineAt(t, '/nonexistent/docker.sock');
    const served = await serve(t, { docker, info: { agentVersion: '1' }, log: SILENT });
    const info = await served.call(hostInfo, {});
    assert.equal(info.docker.reachable, false);
    assert.match(info.docker.reason ?? '', /there is no socket/);
    assert.equal(info.dockerInfo, undefined);
    await assert.rejects(served.call(kinds.containerList, {}), coded('DOCKER_UNREACHABLE'));
    await assert.rejects(served.call(kinds.containerExecOpen, { id: 'c', cmd: ['x'] }), coded('DOCKER_UNREACHABLE'));
  });

  test('a key whose call never got to Docker can be tried again', async (t) => {
    let starts = 0;
    const fake = await fakeDocker(t, (_request, response) => {
      starts++;
      response.writeHead(204).end();
    });
    const served = await serve(t, { docker: await engineAt(t, fake.socket), info: { agentVersion: '1' }, log: SILENT });
    await fake.kill();
    const params = { id: 'c', idempotencyKey: 'k' };
    await assert.rejects(served.call(kinds.containerStart, params), coded('DOCKER_UNREACHABLE'));
    await fake.listen();
    await served.call(kinds.containerStart, params);
    assert.equal(starts, 1);
  });

  test('a key whose call was cut in the middle is not tried again', async (t) => {
    let restarts = 0;
    const fake = await fakeDocker(t, (request) => {
      restarts++;
      request.socket.destroy();
    });
    const served = await serve(t, { docker: await engineAt(t, fake.socket), info: { agentVersion: '1' }, log: SILENT });
    const params = { id: 'c', idempotencyKey: 'k' };
    for (let tries = 0; tries < 2; tries++) {
      await assert.rejects(served.call(kinds.containerRestart, params), coded('DOCKER_UNREACHABLE'));
    }
    assert.equal(restarts, 1);
  });

  test('a stats stream that is cut is an error, not an end', async (t) => {
    const fake = await fakeDocker(t, (_request, response) => {
      response.write('{"id":"c"}\n');
      setTimeout(() => response.socket?.destroy(), 50);
    });
    const served = await serve(t, { docker: await engineAt(t, fake.socket), info: { agentVersion: '1' }, log: SILENT });
    const { stream } = served.open(kinds.containerStats, { id: 'c' });
    let items = 0;
    await assert.rejects(async () => {
      for await (const _ of stream.items()) items++;
    }, coded('DOCKER_UNREACHABLE'));
    assert.equal(items, 1);
  });

  test('one answer that the wire cannot carry fails its call alone', async (t) => {
    const fake = await fakeDocker(t, (request, response) => {
      const deep = '{"a":'.repeat(50);
      response.end(request.url?.includes('/deep/') ? `${deep}1${'}'.repeat(50)}` : '{"Id":"fine"}');
    });
    const served = await serve(t, { docker: await engineAt(t, fake.socket), info: { agentVersion: '1' }, log: SILENT });
    await assert.rejects(served.call(kinds.containerInspect, { id: 'deep' }), (error) => isFairleadError(error));
    assert.deepEqual(await served.call(kinds.containerInspect, { id: 'fine' }), { Id: 'fine' });
  });
});
