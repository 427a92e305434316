import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { DockerEngine } from '../../../../agent/docker/engine.ts';
import { Exec } from '../../../../agent/docker/exec.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { dockerPath } from '../../../../shared/docker/call.ts';
import { normalPath } from '../../../../shared/docker/path.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import type { DockerState } from '../../../../shared/messages/control.ts';
import { DOCKER_SOCKET, requireDocker, testContainer } from '../../../support/docker.ts';
import { tempDir } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker, PERMISSIVE, SILENT } from './fake-docker.ts';

const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

test('the real Engine is reachable and says its version', async (t) => {
  await requireDocker();
  const engine = await engineAt(t, DOCKER_SOCKET);
  assert.equal(engine.state.reachable, true);
  assert.match(engine.state.version ?? '', /^\d+\.\d+/);
  assert.match(engine.state.apiVersion ?? '', /^1\.\d+$/);
});

test('the real Engine through tcp://, by name and by address', async (t) => {
  const relay = createServer(async (connection) => {
    const { connect } = await import('node:net');
    const inner = connect(DOCKER_SOCKET);
    connection.pipe(inner).pipe(connection);
    connection.on('error', () => inner.destroy());
    inner.on('error', () => connection.destroy());
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  t.after(() => relay.close());
  const { port } = relay.address() as { port: number };
  for (const host of ['127.0.0.1', 'localhost']) {
    const engine = await engineAt(t, `tcp://${host}:${port}`);
    assert.equal(engine.state.reachable, true);
  }
});

test('an IPv6 address is dialled', async (t) => {
  const engine = await engineAt(t, 'tcp://[::1]:9');
  assert.match(
    engine.state.reason ?? '',
    /Docker is not reachable at tcp:\/\/\[::1\]:9: (connection refused|no route|.*ailed)/,
  );
});

test('DOCKER_HOST in the environment does not change where the engine dials', async (t) => {
  const before = process.env['DOCKER_HOST'];
  process.env['DOCKER_HOST'] = 'tcp://127.0.0.1:1/api/v1/hosts/other/docker';
  t.after(() => {
    if (before === undefined) delete process.env['DOCKER_HOST'];
    else process.env['DOCKER_HOST'] = before;
  });
  const fake = await fakeDocker(t, (_request, response) => response.end());
  assert.equal((await engineAt(t, fake.socket)).state.version, '99.0');
});

test('an absent socket and one that nobody listens on are told apart', async (t) => {
  const dir = await tempDir(t);
  const absent = await engineAt(t, join(dir, 'none.sock'));
  assert.match(absent.state.reason ?? '', /there is no socket/);
  await assert.rejects(absent.json({ method: 'GET', path: '/info' }), coded('DOCKER_UNREACHABLE'));
  await writeFile(join(dir, 'dead.sock'), '');
  const dead = await engineAt(t, join(dir, 'dead.sock'));
  assert.match(dead.state.reason ?? '', /connection refused/);
});

test('an Engine that accepts and says nothing is not reachable, and says so after its time', async (t) => {
  const path = join(await tempDir(t), 'mute.sock');
  const connections = new Set<Socket>();
  const mute = createServer((connection) => connections.add(connection));
  mute.listen(path);
  await once(mute, 'listening');
  t.after(() => {
    for (const connection of connections) connection.destroy();
    mute.close();
  });
  // Time is passed by hand: every timer that is asked for fires soon.
  const engine = await engineAt(t, path, {
    ...systemClock,
    setTimeout: (callback, ms) => systemClock.setTimeout(callback, ms / 100),
  });
  assert.match(engine.state.reason ?? '', /did not answer within 5 s/);
  await assert.rejects(engine.json({ method: 'GET', path: '/info' }), coded('DOCKER_UNREACHABLE'));
});

test('a call that takes too long while Docker is there is a TIMEOUT', async (t) => {
  const fake = await fakeDocker(t, () => undefined);
  const engine = await engineAt(t, fake.socket);
  await assert.rejects(engine.json({ method: 'GET', path: '/slow', timeoutMs: 30 }), coded('TIMEOUT'));
  assert.equal(engine.state.reachable, true);
});

test('the time for an answer covers its body', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => response.write('{"a":'));
  const engine = await engineAt(t, fake.socket);
  await assert.rejects(engine.json({ method: 'GET', path: '/x', timeoutMs: 30 }), coded('TIMEOUT'));
});

test('it notices that Docker went and that it came back, by itself, and tells its listeners', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => response.end('{}'));
  const engine = await engineAt(t, fake.socket, {
    ...systemClock,
    setTimeout: (callback, ms) => systemClock.setTimeout(callback, ms / 50),
  });
  const seen: boolean[] = [];
  const stop = engine.onState((state: DockerState) => seen.push(state.reachable));
  await fake.kill();
  await waitFor('unreachable', () => !engine.state.reachable);
  await fake.listen();
  await waitFor('reachable again', () => engine.state.reachable);
  assert.deepEqual(seen, [false, true]);
  stop();
});

test('a call that cannot connect changes the state at once', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => response.end('{}'));
  const engine = await engineAt(t, fake.socket);
  await fake.kill();
  assert.equal(engine.state.reachable, true);
  await assert.rejects(engine.json({ method: 'GET', path: '/info' }), coded('DOCKER_UNREACHABLE'));
  assert.equal(engine.state.reachable, false);
});

test('304 is done; other answers are errors with their code', async (t) => {
  const fake = await fakeDocker(t, (request, response) => {
    response.statusCode = Number(request.url?.match(/\d+/)?.[0]);
    response.end(response.statusCode === 304 ? undefined : '{"message":"No such container: x"}');
  });
  const engine = await engineAt(t, fake.socket);
  await engine.act({ method: 'POST', path: '/304' });
  await engine.act({ method: 'POST', path: '/204' });
  await assert.rejects(engine.act({ method: 'POST', path: '/404' }), coded('CONTAINER_NOT_FOUND'));
  await assert.rejects(engine.json({ method: 'GET', path: '/409' }), coded('CONFLICT'));
  await assert.rejects(engine.stream({ method: 'GET', path: '/500' }), coded('DOCKER_ERROR'));
  await assert.rejects(engine.hijack({ method: 'POST', path: '/400' }), coded('VALIDATION'));
});

test('query and body arrive as they were given', async (t) => {
  const fake = await fakeDocker(t, async (request, response) => {
    response.end(JSON.stringify({ url: request.url, method: request.method, body: await text(request) }));
  });
  const engine = await engineAt(t, fake.socket);
  const query = { a: 'x&y=z', n: 5 };
  assert.deepEqual(await engine.json({ method: 'POST', path: '/p', query, body: { Cmd: ['é'] } }), {
    url: '/p?a=x%26y%3Dz&n=5',
    method: 'POST',
    body: '{"Cmd":["é"]}',
  });
});

test('an answer larger than its limit is refused', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => response.end(`"${'x'.repeat(2_000)}"`));
  const engine = await engineAt(t, fake.socket);
  await assert.rejects(engine.json({ method: 'GET', path: '/x', maxBytes: 1_000 }), coded('DOCKER_ERROR'));
});

test('a signal ends a call at any time with its own reason, and frees the connection', async (t) => {
  const fake = await fakeDocker(t, (request, response) => {
    if (request.url?.startsWith('/head')) return;
    response.write('{');
  });
  const engine = await engineAt(t, fake.socket);
  for (const path of ['/head', '/body']) {
    const abort = new AbortController();
    const call = engine.json({ method: 'GET', path, signal: abort.signal });
    setTimeout(() => abort.abort(new FairleadError('CANCELLED', 'left')), 20);
    await assert.rejects(call, coded('CANCELLED'));
    await assert.rejects(engine.json({ method: 'GET', path, signal: abort.signal }), coded('CANCELLED'));
  }
  await waitFor('closed connections', () => fake.sockets.size === 0);
});

test('a stream that is cut fails; it does not end', async (t) => {
  const fake = await fakeDocker(t, (request, response) => {
    response.write('line\n');
    if (request.url?.startsWith('/cut')) setTimeout(() => response.socket?.destroy(), 20);
    else response.end();
  });
  const engine = await engineAt(t, fake.socket);
  assert.equal(await text(await engine.stream({ method: 'GET', path: '/whole' })), 'line\n');
  const cut = await engine.stream({ method: 'GET', path: '/cut' });
  await assert.rejects(text(cut), (error) => isFairleadError(engine.explain(error), 'DOCKER_UNREACHABLE'));
});

test('an answer that is cut fails its call', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('{"half":');
    setTimeout(() => response.socket?.destroy(), 20);
  });
  const engine = await engineAt(t, fake.socket);
  await assert.rejects(engine.json({ method: 'GET', path: '/x' }), coded('DOCKER_UNREACHABLE'));
});

test('a signal destroys a streamed answer with its reason', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => response.write('line\n'));
  const engine = await engineAt(t, fake.socket);
  const abort = new AbortController();
  const body = await engine.stream({ method: 'GET', path: '/x', signal: abort.signal });
  setTimeout(() => abort.abort(new FairleadError('CANCELLED', 'left')), 20);
  await assert.rejects(text(body), coded('CANCELLED'));
  await waitFor('closed connections', () => fake.sockets.size === 0);
});

test('an answer where a connection should be handed over is an error', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => response.end('ok'));
  const engine = await engineAt(t, fake.socket);
  await assert.rejects(engine.hijack({ method: 'POST', path: '/exec/x/start' }), coded('DOCKER_ERROR'));
});

test('close ends polling and running calls, and no call starts after it', async (t) => {
  const fake = await fakeDocker(t, () => undefined);
  const engine = new DockerEngine({ socket: fake.socket, policy: PERMISSIVE, clock: systemClock, log: SILENT });
  await engine.start();
  const call = engine.json({ method: 'GET', path: '/slow' });
  engine.close();
  engine.close();
  await within(1_000, 'the end of the call', assert.rejects(call, coded('SHUTDOWN')));
  await assert.rejects(engine.json({ method: 'GET', path: '/x' }), coded('SHUTDOWN'));
});

test('a hostile label reaches nobody', async (t) => {
  const container = await testContainer(t, { labels: { ['__proto__']: 'x', constructor: 'y' }, start: false });
  const engine = await engineAt(t, DOCKER_SOCKET);
  const answer = (await engine.json({ method: 'GET', path: `/containers/${container.id}/json` })) as {
    Config: { Labels: Record<string, string> };
  };
  assert.deepEqual(Object.keys(answer.Config.Labels).sort(), ['constructor', 'fairlead.test']);
});

test('what the policy denies never gets to Docker, in any way of asking', async (t) => {
  const asked: string[] = [];
  const fake = await fakeDocker(t, (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end('{}');
  });
  const policy = { allow: [], deny: ['docker:DELETE', 'docker:* /exec/**', 'docker:GET /info'] };
  const engine = await engineAt(t, fake.socket, systemClock, policy);
  const denied = coded('DENIED_BY_HOST');
  await assert.rejects(engine.act({ method: 'DELETE', path: '/containers/web' }), denied);
  await assert.rejects(engine.json({ method: 'GET', path: '/info' }), denied);
  await assert.rejects(engine.stream({ method: 'GET', path: '/v1.41/info' }), denied);
  await assert.rejects(engine.hijack({ method: 'POST', path: '/exec/1/start' }), denied);
  await engine.json({ method: 'GET', path: '/containers/json', query: { all: 1 } });
  assert.deepEqual(asked, ['GET /containers/json?all=1']);
  assert.equal(engine.state.reachable, true, 'a refusal says nothing of Docker');
});

test('a path that could be read in two ways never gets to Docker, whatever the policy', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => assert.fail(String(response.req.url)));
  const engine = await engineAt(t, fake.socket);
  for (const path of ['/a/../info', '/a/%2e%2e/info', '//info', '/a%2Finfo', '/a\\info', 'http://other/info', '/']) {
    await assert.rejects(engine.json({ method: 'GET', path }), coded('DENIED_BY_HOST'), path);
  }
});

test('the path goes out as it was judged, over a socket and over TCP', async (t) => {
  const asked: string[] = [];
  const fake = await fakeDocker(t, (request, response) => {
    asked.push(request.url ?? '');
    response.end('{}');
  });
  const relay = createServer(async (connection) => {
    const { connect } = await import('node:net');
    const inner = connect(fake.socket);
    connection.pipe(inner).pipe(connection);
    for (const end of [connection, inner]) end.on('error', () => end.destroy());
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  t.after(() => relay.close());
  const { port } = relay.address() as { port: number };
  const paths = ['/images/a/b:c@d/json', dockerPath`/volumes/${'a:b+c'}`, "/x/(a)!~*';,=$&"];
  for (const address of [fake.socket, `tcp://127.0.0.1:${port}`]) {
    const engine = await engineAt(t, address);
    for (const path of paths) {
      await engine.json({ method: 'GET', path, query: { q: '../%2e' } });
      const [sent = '', query] = (asked.at(-1) ?? '').split('?');
      assert.deepEqual(normalPath(sent), normalPath(path));
      assert.equal(query, 'q=..%2F%252e');
    }
  }
});

test('a host that denies all of Docker still knows whether it is there', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => response.end('{}'));
  const engine = await engineAt(t, fake.socket, systemClock, { allow: [], deny: ['docker:*'] });
  assert.equal(engine.state.version, '99.0');
  await assert.rejects(engine.json({ method: 'GET', path: '/containers/json' }), coded('DENIED_BY_HOST'));
});

test('an exec of which one call is denied is not begun', async (t) => {
  const fake = await fakeDocker(t, (_request, response) => assert.fail(String(response.req.url)));
  for (const entry of ['docker:POST /exec/*/start', 'docker:GET /exec/**', 'docker:GET /containers/*/json']) {
    const engine = await engineAt(t, fake.socket, systemClock, { allow: [], deny: [entry] });
    const options = { container: 'web', cmd: ['true'], tty: false, stdin: false };
    await assert.rejects(Exec.start(engine, options, new AbortController().signal), coded('DENIED_BY_HOST'), entry);
  }
});
