/** Docker's API of a host: who may make which call, what is written down of it, and how what goes wrong is said. */
import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import { waitFor } from '../../../support/wait.ts';
import { type Answer, answerTo, DOCKER, dockerFixture, OK, responseTo } from './docker-fixture.ts';
import { HOST } from './fake-host.ts';
import { as } from './fakes.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const EXEC = JSON.stringify({ Cmd: ['id', '-u'], User: 'root', Tty: false, Env: ['TOKEN=SECRET'] });

/** A problem in the words that Docker's clients show. */
function isProblem({ status, headers, body, text }: Answer, expected: number, code: string): void {
  assert.equal(status, expected, text);
  assert.equal(headers['content-type'], 'application/json');
  assert.equal(body.code, code);
  assert.equal(body.status, expected);
  assert.equal(body.message, `${body.detail} (${code})`);
  assert.ok(body.requestId === headers['x-request-id'] && body.requestId.length > 0);
}

test('a call is passed to the host as it came, and its answer to the client', async (t) => {
  const answer = {
    ...OK,
    status: 299,
    reason: 'Quite Fine',
    headers: [
      ['X-A', '1'],
      ['x-a', '2'],
    ],
  };
  const it = await dockerFixture(t, {
    'docker.request': ({ stream }) => {
      stream.output.end('body');
      stream.trailer.resolve({ headers: [] });
      return answer;
    },
  });
  const target = '/v1.41/containers/web/json?size=1&x=%2F..';
  const got = await it.send('GET', `${DOCKER}${target}`, { headers: { 'user-agent': 'Docker', cookie: 'a=b' } });
  assert.deepEqual([got.status, got.text, got.headers['x-a']], [299, 'body', '1, 2']);
  const { kind, params, timeoutMs } = await it.asked();
  const headers = [['user-agent', 'Docker']];
  assert.deepEqual(
    { kind, params },
    { kind: 'docker.request', params: { method: 'GET', target, headers, body: 'none' } },
  );
  assert.equal(timeoutMs, Number.POSITIVE_INFINITY);
});

test('a body goes to the host as it comes, before the host has answered, however it is framed', async (t) => {
  const it = await dockerFixture(t, { 'docker.request': () => new Promise(() => undefined) });
  for (const [headers, body] of [
    [{ 'content-length': 10 }, 10],
    [{}, 'chunked'],
  ] as const) {
    const upload = it.begin('PUT', `${DOCKER}/containers/web/archive`, { ...as('operator'), ...headers });
    upload.on('error', () => undefined).write('01234');
    const { params, stream } = await waitFor('the host', () =>
      it.host.asked.find((one) => one.params['body'] === body),
    );
    await waitFor('the first half', () => stream.input.read()?.toString() === '01234');
    upload.end('56789');
    assert.equal(String(await buffer(stream.input)), '56789');
    assert.equal(params['method'], 'PUT');
  }
});

for (const [name, ...types] of [
  ['any type', 'application/x-tar', 'text/plain', 'application/json; charset=utf-8', 'application/octet-stream'],
  ['a type that is none', 'tar', ''],
] as const) {
  test(`a body of ${name} goes on: what Docker makes of it is Docker's affair`, async (t) => {
    const it = await dockerFixture(t);
    for (const type of types) {
      const { status } = await it.send('POST', `${DOCKER}/build`, { body: 'x', headers: { 'content-type': type } });
      assert.equal(status, 200, JSON.stringify(type));
      assert.deepEqual((await it.asked()).params['headers'], [['content-type', type]]);
    }
  });
}

test('each call needs a role of its own, and who has none of it is told so in words of Docker', async (t) => {
  const it = await dockerFixture(t, {}, { overrides: { limits: { refusedLoginsPerMinute: 1000 } } });
  const calls: [method: string, path: string, role: Role][] = [
    ['GET', '/containers/json', 'viewer'],
    ['HEAD', '/_ping', 'viewer'],
    ['POST', '/containers/web/wait', 'viewer'],
    ['GET', '/containers/web/archive?path=/etc', 'operator'],
    ['POST', '/v1.41/containers/web/stop', 'operator'],
    ['DELETE', '/images/team/app:1', 'operator'],
    ['PUT', '/containers/web/archive?path=/', 'operator'],
    ['POST', '/exec/1/start', 'operator'],
    ['GET', '/secrets', 'admin'],
    ['GET', '/containers/a/b/json', 'viewer'],
    ['POST', '/swarm/init', 'admin'],
    ['GET', '/new/in/docker', 'admin'],
  ];
  const roles: Role[] = ['viewer', 'operator', 'admin'];
  for (const [method, path, needed] of calls) {
    for (const token of roles) {
      const before = it.host.asked.length;
      const got = await it.send(method, `${DOCKER}${path}`, { token });
      const isAllowed = roles.indexOf(token) >= roles.indexOf(needed);
      assert.equal(it.host.asked.length - before, isAllowed ? 1 : 0, `${token} ${method} ${path}`);
      if (isAllowed) assert.equal(got.status, 200, `${token} ${method} ${path}`);
      else isProblem(got, 403, 'FORBIDDEN');
    }
  }
});

test('a refusal is written down with the call, and has none of its secrets', async (t) => {
  const it = await dockerFixture(t);
  const got = await it.send('POST', `${DOCKER}/build?t=app&buildargs=SECRET`, { token: 'viewer' });
  isProblem(got, 403, 'FORBIDDEN');
  assert.match(got.body.message, /POST \/build needs the role operator; the-viewer has the role viewer/);
  assert.deepEqual(it.rows(), [
    {
      ...{ actor: 'the-viewer', address: '127.0.0.1', action: 'image.build', target: 'edge-1', result: 'refused' },
      detail: { docker: 'POST /build', t: 'app' },
    },
  ]);
});

test('what changes the host is written down with how Docker answered; what reads is not', async (t) => {
  const it = await dockerFixture(t);
  for (const [status, result] of [
    [200, 'ok'],
    [304, 'ok'],
    [399, 'ok'],
    [400, 'failed'],
    [500, 'failed'],
  ] as const) {
    it.host.answers['docker.request'] = ({ stream }) => {
      it.finish(stream);
      return { ...OK, status };
    };
    const before = it.rows().length;
    assert.equal((await it.send('POST', `${DOCKER}/containers/web/stop?t=1`)).status, status);
    await it.send('GET', `${DOCKER}/containers/web/json`);
    await it.send('POST', `${DOCKER}/exec/1/resize?h=1&w=1`);
    const detail = { docker: 'POST /containers/web/stop', t: '1', status };
    const row = { actor: 'the-operator', address: '127.0.0.1', action: 'container.stop', target: 'edge-1/web' };
    assert.deepEqual(it.rows().slice(before), [{ ...row, result, detail }]);
  }
});

test('a new exec is written down with its command before the client has its answer', async (t) => {
  const it = await dockerFixture(t, { 'docker.request': () => ({ ...OK, status: 201 }) });
  const request = it.begin('POST', `${DOCKER}/v1.41/containers/web/exec`, { ...as('operator'), ...JSON_TYPE });
  request.end(EXEC);
  assert.equal((await responseTo(request)).statusCode, 201);
  const told = { docker: 'POST /containers/web/exec', cmd: ['id', '-u'], user: 'root', tty: false, status: 201 };
  assert.deepEqual(
    it.rows().map(({ action, target, result, detail }) => [action, target, result, detail]),
    [['container.exec', 'edge-1/web', 'ok', told]],
  );
  const { params, stream } = await it.asked();
  assert.equal(params['body'], Buffer.byteLength(EXEC));
  assert.equal(String(await buffer(stream.input)), EXEC, 'Docker gets the body as it came');
});

for (const [name, body, expected] of [
  // Docker's reader ends with the first value, takes fields in any letter case, and of those that are the same the last.
  ['what stands behind the body', '{"Cmd":["evil"]} trailing', 'evil'],
  ['a bracket too many', '{"Cmd":["evil"]}}', 'evil'],
  ['a field that is written again', '{"Cmd":["a"],"cmd":["b"],"Cmd":["evil"]}', 'evil'],
] as const) {
  test(`no command gets past the audit log by ${name}`, async (t) => {
    const it = await dockerFixture(t);
    const { status } = await it.send('POST', `${DOCKER}/containers/web/exec`, { body, headers: JSON_TYPE });
    const isRefused = status === 400 && it.host.asked.length === 0;
    assert.ok(isRefused || JSON.stringify(it.rows()).includes(`"${expected}"`), JSON.stringify(it.rows()));
  });
}

test('what cannot be written down is not done', async (t) => {
  const it = await dockerFixture(t, { 'docker.request': () => OK });
  it.deps.audit.record = () => Promise.reject(new FairleadError('STORE_FULL', 'the disk is full'));
  isProblem(await it.send('POST', `${DOCKER}/exec/1/start`, { body: '{"Detach":true}' }), 507, 'STORE_FULL');
  assert.deepEqual(it.host.asked, []);
  // A change that is done already is not undone.
  it.host.answers['docker.request'] = ({ stream: answered }) => {
    it.finish(answered);
    return OK;
  };
  assert.equal((await it.send('POST', `${DOCKER}/containers/web/stop`)).status, 200);
});

test('a body that tells and is too large is refused before the host is asked', async (t) => {
  const it = await dockerFixture(t);
  const body = Buffer.alloc(256 * 1024 + 1, ' ');
  isProblem(
    await it.send('POST', `${DOCKER}/containers/create`, { body, headers: JSON_TYPE }),
    413,
    'PAYLOAD_TOO_LARGE',
  );
  assert.deepEqual(it.host.asked, []);
  const full = Buffer.concat([body.subarray(3), Buffer.from('{}')]);
  assert.equal((await it.send('POST', `${DOCKER}/containers/create`, { body: full })).status, 200);
});

test('a path that could be read in two ways is refused, whoever asks', async (t) => {
  const it = await dockerFixture(t);
  for (const path of [
    '/a/../secrets',
    '/a/%2e%2e/secrets',
    '/a%2f..%2fsecrets',
    '//info',
    '/info/',
    '/a%5cb',
    '/%00',
    '/',
  ]) {
    const raw = it.raw(
      `GET ${DOCKER}${path} HTTP/1.1`,
      'Host: x',
      'Authorization: Bearer admin',
      'Connection: close',
      '',
      '',
    );
    const answer = await raw.ended();
    assert.match(answer, /^HTTP\/1\.1 400 .*"message":"[^"]+ \(VALIDATION\)"/s, path);
  }
  assert.deepEqual(it.host.asked, []);
});

test('problems are told in words of Docker: no token, no such host, none in its scope, a host that is offline', async (t) => {
  const hosts = [HOST, { ...HOST, id: 'h2', name: 'gone', state: 'offline' as const }];
  const it = await dockerFixture(t, {}, { hosts });
  const path = `${DOCKER}/info`;
  isProblem(await it.send('GET', path, { token: null }), 401, 'UNAUTHORIZED');
  isProblem(await it.send('GET', path, { headers: as('wrong' as Role) }), 401, 'UNAUTHORIZED');
  isProblem(await it.send('GET', path.replace('edge-1', 'none')), 404, 'HOST_NOT_FOUND');
  isProblem(await it.send('GET', path, { token: 'admin#other' }), 404, 'HOST_NOT_FOUND');
  isProblem(await it.send('GET', path.replace('edge-1', 'gone')), 503, 'HOST_OFFLINE');
  assert.equal((await it.send('GET', path, { token: 'viewer#lab' })).status, 200);
});

test('so are those of the host, before its answer has begun', async (t) => {
  const it = await dockerFixture(t);
  for (const [code, status] of [
    ['DOCKER_UNREACHABLE', 502],
    ['DENIED_BY_HOST', 403],
    ['VALIDATION', 400],
  ] as const) {
    it.host.answers['docker.request'] = () => Promise.reject(new FairleadError(code, 'as the host says'));
    isProblem(await it.send('GET', `${DOCKER}/info`), status, code);
  }
  it.host.answers['docker.request'] = () => ({ ...OK, status: 101 });
  isProblem(await it.send('GET', `${DOCKER}/info`), 502, 'DOCKER_ERROR');
  assert.equal((await it.asked()).stream.resetWith?.code, 'DOCKER_ERROR');
  it.host.answers['docker.request'] = () => ({ ...OK, upgraded: true });
  isProblem(await it.send('GET', `${DOCKER}/info`), 502, 'DOCKER_ERROR');
});

test('methods that Docker does not have are none of the route’s, and keep the words of this server', async (t) => {
  const it = await dockerFixture(t);
  for (const method of ['PATCH', 'OPTIONS', 'TRACE']) {
    const request = it.begin(method, `${DOCKER}/info`);
    request.end();
    const { status, headers } = await answerTo(request);
    assert.ok(status === 404 && headers['content-type'] === 'application/problem+json', method);
  }
});

test("BuildKit's connections at the root are for the host that is named beside", async (t) => {
  const it = await dockerFixture(t);
  const named = { headers: { 'x-fairlead-host': 'edge-1' } };
  assert.equal((await it.send('POST', '/session', named)).status, 200);
  assert.deepEqual((await it.asked()).params['target'], '/session');
  isProblem(await it.send('POST', '/grpc'), 400, 'VALIDATION');
  isProblem(await it.send('POST', '/grpc', { ...named, token: 'viewer' }), 403, 'FORBIDDEN');
  isProblem(await it.send('POST', '/grpc', { ...named, token: 'admin#other' }), 404, 'HOST_NOT_FOUND');
  assert.equal(it.host.asked.length, 1);
});
