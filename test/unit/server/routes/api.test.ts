/** What holds for every route: access, problems, validation, headers, the description. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { declareAccess } from '../../../../server/routes/access.ts';
import { HOST } from './fake-host.ts';
import { as, ask, fakeDeps, fixture } from './fakes.ts';

const PUBLIC = [
  'GET /healthz',
  'GET /readyz',
  'GET /ca.pem',
  'GET /download/{os}/{arch}/{file}',
  'GET /install.sh',
  'GET /api/v1/ca',
  'GET /api/hawser/edge',
  'POST /api/v1/enroll',
  'POST /api/v1/login',
  'POST /api/v1/recover',
];

interface Described {
  openapi: string;
  paths: Record<string, Record<string, { security: object[]; responses: Record<string, unknown> }>>;
}

test('every route but the public ones needs a token', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const { paths } = (await ask(api, { url: '/api/v1/openapi.json', headers: as('viewer') })).json<Described>();
  const open: string[] = [];
  for (const [path, methods] of Object.entries(paths)) {
    for (const method of Object.keys(methods)) {
      const url = path.replace(/\{\w+\}/g, 'x');
      const answer = await ask(api, { method: method.toUpperCase() as 'GET', url });
      if (answer.statusCode !== 401) open.push(`${method.toUpperCase()} ${path}`);
      else if (method !== 'head') assert.equal(answer.json().code, 'UNAUTHORIZED');
      const declared = methods[method]?.security.length === 0;
      assert.equal(declared, open.includes(`${method.toUpperCase()} ${path}`), `${method} ${path}`);
    }
  }
  assert.deepEqual(open.sort(), [...PUBLIC].sort());
});

test('a route that declares no access fails at startup', () => {
  assert.throws(() => declareAccess({ method: 'GET', url: '/x', handler: () => '' }), /GET \/x declares no access/);
});

test('a role too low is refused, and written down', async (t) => {
  const { api, audit } = await fixture();
  t.after(() => api.close());
  const answer = await ask(api, { method: 'DELETE', url: '/api/v1/hosts/edge-1', headers: as('operator') });
  assert.equal(answer.statusCode, 403);
  assert.equal(answer.json().code, 'FORBIDDEN');
  assert.match(answer.json().detail, /needs the role admin/);
  assert.deepEqual(
    audit.map(({ actor, action, result }) => ({ actor, action, result })),
    [{ actor: 'the-operator', action: 'DELETE /api/v1/hosts/:host', result: 'refused' }],
  );
});

test('a refused login is written down, then limited by address', async (t) => {
  const { api, audit } = await fixture({ overrides: { limits: { refusedLoginsPerMinute: 3 } } });
  t.after(() => api.close());
  const login = (token: string) => ask(api, { url: '/api/v1/hosts', headers: { authorization: `Bearer ${token}` } });
  for (let i = 0; i < 3; i++) assert.equal((await login('wrong')).statusCode, 401);
  const limited = await login('wrong');
  assert.equal(limited.statusCode, 429);
  assert.equal(limited.json().code, 'RATE_LIMITED');
  assert.ok(Number(limited.headers['retry-after']) > 0);
  assert.equal(limited.json().retryAfter, Number(limited.headers['retry-after']));
  assert.equal(audit.filter(({ result }) => result === 'refused').length, 3);
  assert.ok(!JSON.stringify(audit).includes('wrong'));
  assert.equal((await login('viewer')).statusCode, 429, 'nor is a good token from there looked at');
});

test('a login is written down once for a token and an address', async (t) => {
  const { api, audit } = await fixture();
  t.after(() => api.close());
  for (let i = 0; i < 3; i++) await ask(api, { url: '/api/v1/hosts', headers: as('viewer') });
  assert.deepEqual(audit, [{ actor: 'the-viewer', address: '127.0.0.1', action: 'login', result: 'ok' }]);
});

test('problems say what is wrong and carry the id of the request', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const answer = await ask(api, { url: '/api/v1/hosts/nobody', headers: as('viewer') });
  assert.equal(answer.statusCode, 404);
  assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/);
  assert.deepEqual(answer.json(), {
    type: 'urn:fairlead:problem:HOST_NOT_FOUND',
    title: 'There is no such host',
    status: 404,
    code: 'HOST_NOT_FOUND',
    detail: 'there is no host nobody',
    requestId: answer.headers['x-request-id'],
  });
});

test('what nobody foresaw is logged under its request and told to nobody', async (t) => {
  const { api, log } = await fixture({ overrides: { ready: () => Promise.reject(new Error('secret in the text')) } });
  t.after(() => api.close());
  const answer = await ask(api, '/readyz');
  assert.equal(answer.statusCode, 500);
  assert.equal(answer.json().code, 'INTERNAL');
  assert.ok(!answer.body.includes('secret'));
  const id = answer.headers['x-request-id'];
  assert.ok(log.some((line) => line.includes('secret in the text') && line.includes(String(id))));
});

test('an offline host is 503 with Retry-After', async (t) => {
  const { api } = await fixture({ hosts: [{ ...HOST, state: 'offline' }] });
  t.after(() => api.close());
  const answer = await ask(api, { url: '/api/v1/hosts/edge-1/info', headers: as('viewer') });
  assert.equal(answer.statusCode, 503);
  assert.equal(answer.json().code, 'HOST_OFFLINE');
  assert.ok(Number(answer.headers['retry-after']) > 0);
});

const BAD: [name: string, request: object, status: number, code: string, detail: RegExp][] = [
  ['an unknown route', { url: '/api/v2/x?q=secret' }, 404, 'NOT_FOUND', /there is no GET \/api\/v2\/x$/],
  ['an unknown query', { url: '/api/v1/hosts?limt=3' }, 400, 'VALIDATION', /the query at limt/],
  ['a limit of nothing', { url: '/api/v1/hosts?limit=' }, 400, 'VALIDATION', /the query at limit/],
  ['a limit too high', { url: '/api/v1/hosts?limit=501' }, 400, 'VALIDATION', /the query at limit/],
  ['a host name with a slash', { url: '/api/v1/hosts/..%2fx' }, 400, 'VALIDATION', /the path at host/],
  [
    'a container that is a path',
    { url: '/api/v1/hosts/edge-1/containers/a%2f..%2fb' },
    400,
    'VALIDATION',
    /the path at container/,
  ],
  ['a container of dots', { url: '/api/v1/hosts/edge-1/containers/..%2f' }, 400, 'VALIDATION', /the path at container/],
  ['a broken escape', { url: '/api/v1/hosts/%zz' }, 400, 'VALIDATION', /percent-encoding/],
  ['a body that is no JSON', { ...post('{"na') }, 400, 'VALIDATION', /not valid JSON/],
  [
    'a body with a prototype',
    { ...post('{"__proto__": {"role": "admin"}}') },
    400,
    'VALIDATION',
    /not valid JSON|malformed/,
  ],
  [
    'a body of another type',
    { ...post('name=x', 'application/x-www-form-urlencoded') },
    415,
    'VALIDATION',
    /application\/json/,
  ],
  ['a body too large', { ...post(`{"name":"${'x'.repeat(300_000)}"}`) }, 413, 'PAYLOAD_TOO_LARGE', /larger/],
  ['no body', { ...post('') }, 400, 'VALIDATION', /the body/],
  ['a missing field', { ...post('{"name":"x"}') }, 400, 'VALIDATION', /role must be given/],
  ['a field too many', { ...post('{"name":"x","role":"viewer","extra":1}') }, 400, 'VALIDATION', /the body at extra/],
  ['a role that is none', { ...post('{"name":"x","role":"root"}') }, 400, 'VALIDATION', /the body at role/],
  [
    'a text where a number belongs',
    { ...post('{"ttlSeconds":"5"}', undefined, '/api/v1/enrollment-tokens') },
    400,
    'VALIDATION',
    /ttlSeconds/,
  ],
];

function post(payload: string, type = 'application/json', url = '/api/v1/api-tokens') {
  return { method: 'POST', url, payload, headers: { 'content-type': type } };
}

for (const [name, request, status, code, detail] of BAD) {
  test(`bad input: ${name}`, async (t) => {
    const { api, calls } = await fixture();
    t.after(() => api.close());
    const { headers, ...rest } = request as { headers?: object; url: string };
    const answer = await ask(api, { ...rest, headers: { ...headers, ...as('admin') } });
    assert.equal(answer.statusCode, status, answer.body);
    assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/);
    assert.equal(answer.json().code, code);
    assert.match(answer.json().detail, detail);
    assert.deepEqual(
      calls.filter((call) => call.name !== 'metrics'),
      [],
    );
  });
}

test('the description is OpenAPI 3.1 and names every family', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const document = (await ask(api, { url: '/api/v1/openapi.json', headers: as('viewer') })).json<Described>();
  assert.equal(document.openapi, '3.1.0');
  for (const path of [
    '/hosts',
    '/hosts/{host}/containers/{container}/logs',
    '/containers',
    '/enroll',
    '/audit',
    '/api-tokens',
  ]) {
    assert.ok(document.paths[`/api/v1${path}`], path);
  }
  const show = document.paths['/api/v1/hosts/{host}']?.['get'];
  assert.ok(show?.responses['200'] && show.responses['4XX']);
  assert.ok(!JSON.stringify(document).includes('def-0'));
});

test('the reference page needs nothing from elsewhere and opens with the token as password', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const asked = await ask(api, '/api/docs');
  assert.equal(asked.statusCode, 401);
  assert.match(String(asked.headers['www-authenticate']), /^Basic/);
  const authorization = `Basic ${Buffer.from('me:viewer').toString('base64')}`;
  const page = await ask(api, { url: '/api/docs', headers: { authorization } });
  assert.equal(page.statusCode, 200);
  assert.match(page.body, /\/api\/v1\/hosts\/\{host\}\/containers/);
  assert.doesNotMatch(page.body, /<script|src=|https?:\/\//);
  const elsewhere = await ask(api, { url: '/api/v1/hosts', headers: { authorization } });
  assert.equal(elsewhere.statusCode, 401, 'a password is for pages only');
});

test('requests are counted by the pattern of their route', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  await ask(api, { url: '/api/v1/hosts/edge-1', headers: as('viewer') });
  await ask(api, '/nowhere');
  assert.deepEqual(
    calls.filter(({ name }) => name === 'metrics').map(({ args }) => args),
    [
      ['GET', '/api/v1/hosts/:host', 200],
      ['GET', 'unknown', 404],
    ],
  );
});

test('no log line holds a query or a token', async (t) => {
  const { api, log } = await fixture();
  t.after(() => api.close());
  await ask(api, { url: '/api/v1/hosts?cursor=hush', headers: as('viewer') });
  assert.ok(log.some((line) => line.includes('/api/v1/hosts')));
  assert.ok(!log.join('').includes('hush') && !log.join('').includes('Bearer'));
});

test('the fakes fit the dependencies', () => {
  assert.ok(fakeDeps().deps);
});
