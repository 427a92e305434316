/** docker.request and docker.upgrade on Engines that do what a healthy one does not, and bodies that are not what they should be. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { dockerRequest, dockerUpgrade } from '../../../../shared/messages/docker.ts';
import type { Params } from '../../../../shared/messages/kind.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker, PERMISSIVE, SILENT } from '../docker/fake-docker.ts';
import { type RawConnection, rawDocker } from '../docker/raw-docker.ts';
import { type Opened, type Served, serve } from './served.ts';

const SWITCHING = ['HTTP/1.1 101 UPGRADED', 'Connection: Upgrade', 'Upgrade: tcp', ''];
const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

const request = (params: Partial<Params<typeof dockerRequest>> = {}): Params<typeof dockerRequest> => ({
  ...{ method: 'POST', target: '/x', headers: [], body: 'none' },
  ...params,
});
const upgrade = (params: Partial<Params<typeof dockerUpgrade>> = {}): Params<typeof dockerUpgrade> => ({
  ...{ method: 'POST', target: '/x', headers: [], protocol: 'tcp', body: '' },
  ...params,
});

/** The handlers before the Docker at `socket`. */
async function servedAt(t: TestContext, socket: string, deny: string[] = []): Promise<Served> {
  const docker = await engineAt(t, socket, systemClock, { ...PERMISSIVE, deny });
  return await serve(t, { docker, info: { agentVersion: '0' }, log: SILENT });
}

/** Opens a stream to a Docker that is bare bytes; resolves once that has the head of the request. */
async function opened<K extends typeof dockerRequest | typeof dockerUpgrade>(
  t: TestContext,
  kind: K,
  params: Params<K>,
): Promise<Opened<K> & { docker: RawConnection }> {
  const raw = await rawDocker(t);
  const starting = servedAt(t, raw.socket);
  // The question whether Docker is there, which the engine asks first.
  const probe = await raw.connection();
  await probe.request();
  probe.write('HTTP/1.1 200 OK', 'Content-Length: 2', '', '{}');
  const stream = (await starting).open(kind, params);
  stream.stream.bytes.on('error', () => undefined);
  const docker = await raw.connection(1);
  await docker.request();
  return { ...stream, docker };
}

test('the head of an answer comes before its body, and before the end of the request', async (t) => {
  const { stream, done, docker } = await opened(t, dockerRequest, request({ body: 10 }));
  stream.bytes.write('01234');
  await docker.sent('01234');
  docker.write('HTTP/1.1 200 Early', 'X-A: 1', 'Content-Length: 4', '', '');
  const expected = {
    status: 200,
    reason: 'Early',
    headers: [
      ['X-A', '1'],
      ['Content-Length', '4'],
    ],
  };
  assert.deepEqual(await within(5_000, 'the reply', stream.reply), { ...expected, upgraded: false });
  stream.bytes.end('56789');
  await docker.sent('0123456789');
  docker.write('late');
  assert.equal(await text(stream.bytes), 'late');
  assert.deepEqual(await stream.trailer, { headers: [] });
  await done;
});

test('an answer that ends before the request does is whole, and the rest of the request is dropped', async (t) => {
  const { stream, done, docker } = await opened(t, dockerRequest, request({ body: 50_000_000 }));
  const piece = Buffer.alloc(1_000_000, 'x');
  stream.bytes.write(piece);
  await docker.sent('xxx');
  docker.write('HTTP/1.1 413 Too Large', 'Content-Length: 2', '', 'no');
  docker.socket.end();
  assert.equal((await stream.reply).status, 413);
  for (let sent = 1; sent < 50; sent++) stream.bytes.write(piece);
  stream.bytes.end();
  assert.equal(await within(5_000, 'the answer', text(stream.bytes)), 'no');
  await within(5_000, 'the end', done);
  await within(5_000, 'the end of the stream', stream.closed);
});

for (const body of ['chunked', 1_000_000_000] as const) {
  test(`a Docker that reads nothing holds the opener up (${body})`, async (t) => {
    const { stream, docker, leave, done } = await opened(t, dockerRequest, request({ body }));
    docker.socket.pause();
    const piece = Buffer.alloc(64 * 1024);
    let written = 0;
    const writing = setInterval(() => {
      while (!stream.bytes.destroyed && stream.bytes.write(piece)) written += piece.byteLength;
    }, 1);
    t.after(() => clearInterval(writing));
    let before = -1;
    const isHeld = () => {
      const held = stream.flow.sent === before;
      before = stream.flow.sent;
      return held && written > 0;
    };
    await waitFor('the opener to be held up', isHeld, { everyMs: 200 });
    assert.ok(stream.flow.sent < 32 * 1024 * 1024, `${stream.flow.sent} bytes were sent`);
    leave();
    await assert.rejects(done, coded('CANCELLED'));
  });
}

for (const [length, body, why] of [
  [5, 'helloPOST /containers/web/kill HTTP/1.1\r\nHost: docker\r\n\r\n', 'longer'],
  [0, 'POST /containers/web/kill HTTP/1.1\r\nHost: docker\r\n\r\n', 'longer'],
  [50, 'hello', 'shorter'],
] as const) {
  test(`a body that is ${why} than its ${length} bytes fails, and Docker gets no other request`, async (t) => {
    const { stream, done, docker } = await opened(t, dockerRequest, request({ body: length }));
    stream.bytes.end(body);
    await assert.rejects(done, (error) => isFairleadError(error, 'VALIDATION') && error.message.includes(why));
    await assert.rejects(stream.reply, coded('VALIDATION'));
    await docker.gone();
    assert.ok(body.slice(0, length).startsWith(docker.body), docker.body);
  });
}

test('without a body nothing that the opener sends goes to Docker', async (t) => {
  const { stream, done, docker } = await opened(t, dockerRequest, request());
  stream.bytes.end('POST /containers/web/kill HTTP/1.1\r\nHost: docker\r\n\r\n');
  docker.write('HTTP/1.1 204 No Content', '', '');
  assert.equal(await text(stream.bytes), '');
  await done;
  assert.equal(docker.body, '');
});

test('the body of an upgrade goes before the bytes of the connection, and is as long as it is said', async (t) => {
  const body = '{"Tty":"é"}';
  const { stream, done, docker } = await opened(t, dockerUpgrade, upgrade({ body }));
  stream.bytes.end('in');
  await docker.sent('}');
  assert.match(docker.head, /\r\nContent-Length: 12\r\nConnection: Upgrade\r\nUpgrade: tcp$/);
  docker.write(...SWITCHING, 'out');
  await waitFor('the end of our half', () => docker.hasEnded);
  assert.equal(docker.body, `${Buffer.from(body).toString('latin1')}in`);
  docker.write('put');
  docker.socket.end();
  assert.equal((await stream.reply).upgraded, true);
  assert.equal(await text(stream.bytes), 'output');
  await done;
});

test('Docker may end its half first; what the opener still sends is dropped', async (t) => {
  const { stream, done, docker } = await opened(t, dockerUpgrade, upgrade());
  docker.write(...SWITCHING, 'out');
  docker.socket.end();
  assert.equal(await text(stream.bytes), 'out');
  assert.deepEqual(await stream.trailer, { headers: [] });
  await done;
  await docker.gone();
});

test('an opener who leaves closes the connection to Docker: while it waits, sends, reads, and once it is handed over', async (t) => {
  const waiting = await opened(t, dockerRequest, request());
  const sending = await opened(t, dockerRequest, request({ body: 'chunked' }));
  sending.stream.bytes.write('part');
  await sending.docker.sent('part');
  const reading = await opened(t, dockerRequest, request());
  reading.docker.write('HTTP/1.1 200 OK', '', 'part');
  await once(reading.stream.bytes, 'data');
  const joined = await opened(t, dockerUpgrade, upgrade());
  joined.docker.write(...SWITCHING, 'part');
  await once(joined.stream.bytes, 'data');
  const asking = await opened(t, dockerUpgrade, upgrade({ body: '{}' }));
  for (const { leave, done, docker } of [waiting, sending, reading, joined, asking]) {
    leave();
    await assert.rejects(within(5_000, 'the end', done), coded('CANCELLED'));
    await docker.gone();
  }
});

for (const [name, lines] of [
  ['of so many bytes', ['HTTP/1.1 200 OK', 'Content-Length: 10', '', 'half']],
  ['in chunks', ['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', '', '4', 'half', '']],
] as const) {
  test(`Docker that breaks off within a body ${name} is never a clean end`, async (t) => {
    const { stream, done, docker } = await opened(t, dockerRequest, request());
    docker.write(...lines);
    await once(stream.bytes, 'data');
    const trailer = assert.rejects(stream.trailer, coded('DOCKER_UNREACHABLE'));
    docker.socket.end();
    await assert.rejects(done, coded('DOCKER_UNREACHABLE'));
    await trailer;
    await assert.rejects(text(stream.bytes));
  });
}

test('trailers of Docker are those of the stream', async (t) => {
  const { stream, docker } = await opened(t, dockerRequest, request());
  docker.write('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', '', '1', 'x', '0', 'X-T: 1', 'Connection: x', '', '');
  assert.equal(await text(stream.bytes), 'x');
  assert.deepEqual(await stream.trailer, { headers: [['X-T', '1']] });
});

test('a connection that Docker hands over unasked is closed again', async (t) => {
  const { done, docker } = await opened(t, dockerRequest, request());
  docker.write(...SWITCHING, '');
  await within(5_000, 'the end', assert.rejects(done));
  await docker.gone();
});

test('a Docker that breaks off without an answer, or is not there, is DOCKER_UNREACHABLE', async (t) => {
  const fake = await fakeDocker(t, ({ socket }) => void socket.destroy());
  const served = await servedAt(t, fake.socket);
  for (const gone of [false, true]) {
    if (gone) await fake.kill();
    await assert.rejects(served.open(dockerRequest, request()).done, coded('DOCKER_UNREACHABLE'));
    await assert.rejects(served.open(dockerUpgrade, upgrade({ body: '{}' })).done, coded('DOCKER_UNREACHABLE'));
    const sending = served.open(dockerRequest, request({ body: 'chunked' }));
    sending.stream.bytes.on('error', () => undefined);
    sending.stream.bytes.write('x');
    await assert.rejects(sending.done, coded('DOCKER_UNREACHABLE'));
  }
});

test('what the policy denies sends Docker nothing', async (t) => {
  const fake = await fakeDocker(t, ({ url }) => assert.fail(url));
  const served = await servedAt(t, fake.socket, ['exec', 'container.stop', 'docker:DELETE', 'docker:GET /exec/**']);
  for (const [method, target] of [
    ['POST', '/containers/web/exec'],
    ['POST', '/v1.41/containers/web/stop?t=1'],
    ['POST', '/exec/1/start'],
    ['DELETE', '/images/x'],
    ['GET', '/exec/1/json'],
    ['GET', '/secrets'],
    ['GET', '/containers/../secrets'],
  ] as const) {
    const asked = served.open(dockerRequest, request({ method, target, body: 'chunked' }));
    asked.stream.bytes.on('error', () => undefined).end('{}');
    await assert.rejects(asked.done, coded('DENIED_BY_HOST'), target);
    await assert.rejects(served.open(dockerUpgrade, upgrade({ method, target })).done, coded('DENIED_BY_HOST'), target);
  }
});

test('an exec that could not be ended is not started', async (t) => {
  const fake = await fakeDocker(t, ({ url }) => assert.fail(url));
  for (const entry of ['docker:GET /exec/**', 'docker:GET /containers/*/json']) {
    const served = await servedAt(t, fake.socket, [entry]);
    for (const target of ['/exec/1/start', '/v1.41/exec/1/start?x=1', '/%65xec/1/start']) {
      await assert.rejects(served.open(dockerRequest, request({ target })).done, coded('DENIED_BY_HOST'), target);
      await assert.rejects(served.open(dockerUpgrade, upgrade({ target })).done, coded('DENIED_BY_HOST'), target);
    }
  }
});

test('a header that would say how the request is framed never gets to Docker', async (t) => {
  const fake = await fakeDocker(t, ({ url }) => assert.fail(url));
  const served = await servedAt(t, fake.socket);
  for (const name of ['Transfer-Encoding', 'content-length', 'HOST', 'Connection', 'Expect', 'upgrade']) {
    const headers: [string, string][] = [[name, 'x']];
    await assert.rejects(served.open(dockerRequest, request({ headers })).done, coded('MESSAGE_INVALID'), name);
    await assert.rejects(served.open(dockerUpgrade, upgrade({ headers })).done, coded('MESSAGE_INVALID'), name);
  }
});

test('an engine that is closed ends what runs and begins nothing', async (t) => {
  const fake = await fakeDocker(t, () => undefined);
  const docker = await engineAt(t, fake.socket);
  const served = await serve(t, { docker, info: { agentVersion: '0' }, log: SILENT });
  const running = served.open(dockerRequest, request());
  await waitFor('the request', () => fake.sockets.size === 1);
  docker.close();
  await assert.rejects(within(5_000, 'the end', running.done), FairleadError);
  await assert.rejects(served.open(dockerRequest, request()).done, coded('SHUTDOWN'));
});
