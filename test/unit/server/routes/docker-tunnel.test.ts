/** Connections that Docker hands over, through the API: the upgrade, both halves, refusals, and every way in which one ends. */
import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { DOCKER, type DockerFixture, dockerFixture, OK, type Raw, SWITCHING } from './docker-fixture.ts';
import type { FakeStream } from './fake-host.ts';

const START = `POST ${DOCKER}/v1.41/exec/1/start HTTP/1.1`;
const BODY = '{"Detach":false,"Tty":true}';

/** The lines of a request for an upgrade, up to its body. */
const lines = (token = 'operator', line = START, body = '') => [
  ...[line, 'Host: server', `Authorization: Bearer ${token}`, 'Connection: Upgrade', 'Upgrade: tcp'],
  ...(body === '' ? ['', ''] : ['Content-Type: application/json', `Content-Length: ${body.length}`, '', body]),
];

interface Joined extends DockerFixture {
  readonly client: Raw;
  readonly stream: FakeStream;
}

/** A tunnel that has begun. */
async function joined(t: TestContext, overrides = {}, reply: object = SWITCHING): Promise<Joined> {
  const it = await dockerFixture(t, { 'docker.upgrade': () => reply }, { overrides });
  const client = it.raw(...lines('operator', START, BODY));
  await client.until('\r\n\r\n');
  return { ...it, client, stream: (await it.asked()).stream };
}

/** What came behind the head of an answer. */
const bodyOf = (answer: string) => answer.split('\r\n\r\n').slice(1).join('\r\n\r\n');

test('an upgrade is made in the words of Docker, its body goes with it, and it is written down', async (t) => {
  const headers = [
    ['Content-Type', 'application/vnd.docker.raw-stream'],
    ['Set-Cookie', 'a=b'],
  ];
  const { client, host, rows, calls } = await joined(t, {}, { ...SWITCHING, headers });
  const head = client.received().split('\r\n');
  assert.deepEqual(head.slice(0, 4), [
    'HTTP/1.1 101 UPGRADED',
    'Connection: Upgrade',
    'Upgrade: tcp',
    'Content-Type: application/vnd.docker.raw-stream',
  ]);
  assert.doesNotMatch(client.received(), /set-cookie|transfer-encoding|content-length/i);
  const params = { method: 'POST', target: '/v1.41/exec/1/start', headers: [['Content-Type', 'application/json']] };
  assert.deepEqual(host.asked[0]?.params, { ...params, protocol: 'tcp', body: BODY });
  const detail = { docker: 'POST /exec/1/start', status: 101 };
  assert.deepEqual(rows()[0]?.detail, detail);
  const counted = calls.filter(({ name }) => name === 'metrics').map(({ args }) => args);
  assert.deepEqual(counted, [['POST', '/api/v1/hosts/:host/docker/*', 101]]);
});

test('both halves have an end of their own: the client’s first', async (t) => {
  const { client, stream, finish } = await joined(t);
  client.socket.end('input');
  assert.equal(String(await buffer(stream.input)), 'input');
  stream.output.write('more ');
  await client.until('more ');
  finish(stream, 'output');
  assert.equal(bodyOf(await client.ended()), 'more output');
  assert.equal(stream.resetWith?.code, undefined);
});

test('both halves have an end of their own: Docker’s first', async (t) => {
  const clock = new FakeClock();
  const { client, stream, finish, api } = await joined(t, { clock });
  client.socket.write('input');
  await waitFor('the input', () => stream.input.read()?.toString() === 'input');
  finish(stream, 'output');
  assert.equal(bodyOf(await client.ended()), 'output');
  // A client that does not close its half is cut off after a second.
  const open = () => new Promise<number>((resolve) => api.server.getConnections((_, count) => resolve(count)));
  assert.equal(await open(), 1);
  clock.advance(1_000);
  await waitFor('no connection', async () => (await open()) === 0);
});

test('what the client sends right behind its request is the first of the connection', async (t) => {
  const it = await dockerFixture(t);
  const client = it.raw(...lines('operator', START, BODY), 'right behind');
  await client.until('101 UPGRADED');
  client.socket.end();
  const { params, stream } = await it.asked();
  assert.equal(params['body'], BODY);
  assert.equal(String(await buffer(stream.input)), '\r\nright behind');
});

test('the body of an upgrade may come in chunks', async (t) => {
  const it = await dockerFixture(t);
  const head = lines().slice(0, -2);
  const client = it.raw(...head, 'Transfer-Encoding: chunked', '', '1', '{', '1', '}', '0', '', 'right behind');
  await client.until('101 UPGRADED');
  client.socket.end();
  const { params, stream } = await it.asked();
  assert.deepEqual([params['body'], params['headers']], ['{}', []]);
  assert.equal(String(await buffer(stream.input)), 'right behind');
});

test('a WebSocket is an upgrade as any other: its keys are between the client and Docker', async (t) => {
  const headers = [['Sec-WebSocket-Accept', 'accepted']];
  const it = await dockerFixture(t, { 'docker.upgrade': () => ({ ...SWITCHING, headers }) });
  const line = `GET ${DOCKER}/containers/web/attach/ws?stream=1 HTTP/1.1`;
  const [first = '', ...rest] = lines('operator', line).map((each) => each.replace('tcp', 'websocket'));
  const client = it.raw(first, 'Sec-WebSocket-Key: key', 'Sec-WebSocket-Version: 13', ...rest);
  await client.until('\r\n\r\n');
  assert.match(client.received(), /^HTTP\/1\.1 101 .*\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: accepted\r\n/s);
  const { params } = await it.asked();
  assert.equal(params['protocol'], 'websocket');
  assert.deepEqual(params['headers'], [
    ['Sec-WebSocket-Key', 'key'],
    ['Sec-WebSocket-Version', '13'],
  ]);
  assert.equal(it.rows()[0]?.action, 'container.attach');
});

test('an old Engine hands the connection over with 200, and so it is said', async (t) => {
  const { client, stream, finish } = await joined(t, {}, { ...SWITCHING, status: 200, reason: 'OK' });
  assert.match(client.received(), /^HTTP\/1\.1 200 OK\r\n/);
  assert.doesNotMatch(client.received(), /upgrade|transfer-encoding|content-length/i);
  finish(stream, 'output');
  assert.equal(bodyOf(await client.ended()), 'output');
});

test('an upgrade that Docker does not make is an answer, behind which the connection ends', async (t) => {
  const reply = { ...OK, status: 404, reason: 'Not Found', headers: [['Content-Length', '2']] };
  const it = await dockerFixture(t, {
    'docker.upgrade': ({ stream }) => {
      it.finish(stream, '{}');
      return reply;
    },
  });
  const answer = await it.raw(...lines()).ended();
  assert.match(answer, /^HTTP\/1\.1 404 Not Found\r\n/);
  assert.equal(bodyOf(answer), '{}');
  assert.equal(it.rows()[0]?.result, 'failed');
});

test('an answer to an upgrade that is not made may take its time', async (t) => {
  const clock = new FakeClock();
  const it = await dockerFixture(t, { 'docker.upgrade': () => OK }, { overrides: { clock } });
  const client = it.raw(...lines('operator', `POST ${DOCKER}/containers/web/attach HTTP/1.1`));
  const { stream } = await it.asked();
  stream.output.write('first event');
  await client.until('first event');
  clock.advance(61_000);
  it.finish(stream, 'second event');
  assert.match(await client.ended(), /second event\r\n0\r\n/);
});

test('refusals are answers in words of Docker, and hold no connection', async (t) => {
  const it = await dockerFixture(t);
  for (const [token, line, status, code] of [
    ['viewer', START, 403, 'FORBIDDEN'],
    ['nobody', START, 401, 'UNAUTHORIZED'],
    ['operator', START.replace('edge-1', 'none'), 404, 'HOST_NOT_FOUND'],
    ['operator', START.replace('exec', 'a/../exec'), 400, 'VALIDATION'],
  ] as const) {
    const answer = await it.raw(...lines(token, line)).ended();
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
    assert.match(answer, /\r\ncontent-type: application\/json\r\n/);
    assert.ok(JSON.parse(bodyOf(answer)).message.endsWith(`(${code})`), answer);
  }
  assert.deepEqual(it.host.asked, []);
});

test('an upgrade whose body is too large is refused', async (t) => {
  const it = await dockerFixture(t);
  const answer = await it.raw(...lines('operator', START, ' '.repeat(300_000))).ended();
  assert.match(answer, /^HTTP\/1\.1 413 /);
  assert.match(answer, /PAYLOAD_TOO_LARGE/);
  assert.deepEqual(it.host.asked, []);
});

test('what the host denies is an answer, too', async (t) => {
  const denied = () => Promise.reject(new FairleadError('DENIED_BY_HOST', 'no exec here'));
  const it = await dockerFixture(t, { 'docker.upgrade': denied });
  const answer = await it.raw(...lines()).ended();
  assert.match(answer, /^HTTP\/1\.1 403 .*"message":"no exec here \(DENIED_BY_HOST\)"/s);
});

test('an upgrade elsewhere is not one: other routes answer as if it was not asked for', async (t) => {
  const it = await dockerFixture(t);
  const answer = it.raw(...lines('operator', 'GET /healthz HTTP/1.1'));
  await answer.until('HTTP/1.1 200 ');
  assert.deepEqual(it.host.asked, []);
});

test('a client that breaks off ends the work on the host', async (t) => {
  const { client, stream } = await joined(t);
  client.socket.resetAndDestroy();
  await within(5_000, 'the reset', stream.wasReset.promise);
});

test('a client that breaks off after the end of its input ends the work on the host', async (t) => {
  const { client, stream } = await joined(t);
  client.socket.end('input');
  await buffer(stream.input);
  client.socket.resetAndDestroy();
  const writing = setInterval(() => stream.output.write('x'), 10);
  t.after(() => clearInterval(writing));
  await within(5_000, 'the reset', stream.wasReset.promise);
});

test('a host that is lost closes the tunnel', async (t) => {
  const { client, stream } = await joined(t);
  stream.output.write('half');
  await client.until('half');
  stream.interrupt(new FairleadError('STREAM_INTERRUPTED', 'lost'));
  await client.ended();
  client.socket.destroy();
});

test('an end of Docker without its trailer is none', async (t) => {
  const { client, stream } = await joined(t);
  stream.output.end('all');
  stream.trailer.reject(new FairleadError('STREAM_INTERRUPTED', 'lost'));
  await client.ended();
  await waitFor('the reset', () => stream.resetWith);
});

test('a token that is revoked, or ends, ends its tunnels and no others', async (t) => {
  const clock = new FakeClock();
  const { client, stream, revokeToken } = await joined(t, { clock });
  revokeToken('id-admin');
  stream.output.write('still here');
  await client.until('still here');
  revokeToken('id-operator', clock.now() + 5_000);
  clock.advance(4_999);
  stream.output.write(' and here');
  await client.until(' and here');
  clock.advance(1);
  assert.equal((await within(5_000, 'the reset', stream.wasReset.promise)).code, 'UNAUTHORIZED');
  await client.ended();
  const revoked = await joined(t);
  revoked.revokeToken('id-operator');
  assert.equal((await within(5_000, 'the reset', revoked.stream.wasReset.promise)).code, 'UNAUTHORIZED');
  await revoked.client.ended();
});

test('so does a host that leaves the scope of the token, and an API that closes', async (t) => {
  const { api, client, stream } = await joined(t);
  await api.close();
  assert.equal(stream.resetWith?.code, 'SHUTDOWN');
  await client.ended();
  const it = await dockerFixture(t);
  const scoped = it.raw(...lines('operator#lab'));
  await scoped.until('101 UPGRADED');
  it.retag(it.host.hostId, ['elsewhere']);
  await scoped.ended();
  assert.equal((await it.asked()).stream.resetWith?.code, 'HOST_NOT_FOUND');
});
