/** What routes must declare about tokens with a scope, and what such a token cannot do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { declareAccess } from '../../../../server/routes/access.ts';
import { declareScope } from '../../../../server/routes/scope.ts';
import { HOST } from './fake-host.ts';
import { as, ask, fixture } from './fakes.ts';

const route = (url: string, config: object) => ({ method: 'GET', url, handler: () => '', config });

test('a route that declares no scope fails at startup, and is told what to declare', () => {
  const wanted = /GET \/x declares no scope: .*'host'.*'filtered'.*'none'.*'installation'/;
  assert.throws(() => declareAccess(route('/x', { access: 'viewer' })), wanted);
  assert.throws(() => declareScope(route('/x', { access: 'viewer', scope: 'all' })), wanted);
  assert.throws(() => declareScope(route('/hosts/:host/x', { access: 'viewer' })), /declares no scope/);
});

test('a declaration that cannot hold fails at startup', () => {
  const wrong: [url: string, access: string, scope: string, why: RegExp][] = [
    ['/x', 'viewer', 'host', /has no :host/],
    ['/hosts/:host', 'viewer', 'filtered', /has a :host: say 'host' or 'installation'/],
    ['/hosts/:host/y', 'viewer', 'none', /has a :host/],
    ['/x', 'public', 'installation', /is public: say 'none'/],
  ];
  for (const [url, access, scope, why] of wrong) {
    assert.throws(() => declareScope(route(url, { access, scope })), why, `${url} ${scope}`);
  }
  assert.match(declareScope(route('/hosts/:host', { access: 'viewer', scope: 'installation' })), /whole installation/);
});

test('the description says what a scope does to a route', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const { paths } = (await ask(api, { url: '/api/v1/openapi.json', headers: as('viewer') })).json();
  assert.match(paths['/api/v1/hosts/{host}'].get.description, /for hosts in it/);
  assert.match(paths['/api/v1/hosts'].get.description, /sees what is of hosts in it/);
  assert.match(paths['/api/v1/audit'].get.description, /Not for tokens with a scope/);
});

test('an admin with a scope cannot widen it', async (t) => {
  const { api, calls, audit } = await fixture();
  t.after(() => api.close());
  const headers = as('admin#lab');
  const tries: [method: 'POST' | 'PATCH' | 'GET' | 'DELETE', url: string, payload?: object][] = [
    ['POST', '/api/v1/api-tokens', { name: 'x', role: 'admin' }],
    ['POST', '/api/v1/api-tokens/t1/rotate'],
    ['POST', '/api/v1/enrollment-tokens', { tags: ['lab'] }],
    ['PATCH', `/api/v1/hosts/${HOST.id}`, { tags: ['lab', 'more'] }],
    ['PATCH', `/api/v1/hosts/${HOST.id}`, { name: 'other' }],
    ['GET', '/api/v1/audit'],
    ['GET', '/metrics'],
  ];
  for (const [method, url, payload] of tries) {
    const answer = await ask(api, { method, url, headers, ...(payload && { payload }) });
    assert.equal(answer.statusCode, 403, url);
    assert.match(answer.json().detail, /whole installation; the-admin#lab is limited to some hosts/);
  }
  const done = calls.filter(({ name }) => name !== 'metrics').map(({ name }) => name);
  assert.deepEqual(done, []);
  assert.equal(audit.filter(({ result }) => result === 'refused').length, tries.length);
});

test('within its scope an admin revokes and removes hosts, by id whatever they are called', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const headers = as('admin#lab');
  assert.equal((await ask(api, { method: 'DELETE', url: '/api/v1/hosts/edge-1', headers })).statusCode, 204);
  assert.equal(calls.find(({ name }) => name === 'hosts.remove')?.args[0], HOST.id);
});

test('what a token with a scope asks of a host that it may not see is written down, and does not reach it', async (t) => {
  const { api, host, audit } = await fixture();
  t.after(() => api.close());
  const url = '/api/v1/hosts/edge-1/containers/web/start';
  const answer = await ask(api, { method: 'POST', url, headers: as('operator#mine') });
  assert.equal(answer.statusCode, 404);
  assert.deepEqual(host.asked, []);
  const rows = audit.filter(({ result }) => result === 'refused');
  assert.deepEqual(rows, [
    {
      actor: 'the-operator#mine',
      address: '127.0.0.1',
      action: 'POST /api/v1/hosts/:host/containers/:container/start',
      target: 'edge-1',
      result: 'refused',
      detail: { code: 'HOST_NOT_FOUND' },
    },
  ]);
});

test('whoami tells a token its scope, and a token is made with one', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const me = (await ask(api, { url: '/api/v1/whoami', headers: as('viewer#lab') })).json();
  assert.deepEqual(me.scope, { hosts: [], tags: ['lab'] });
  const payload = { name: 'ci', role: 'viewer', hosts: [HOST.id], tags: ['lab'] };
  const made = await ask(api, { method: 'POST', url: '/api/v1/api-tokens', headers: as('admin'), payload });
  assert.deepEqual(made.json().scope, { hosts: [{ id: HOST.id, name: 'edge-1' }], tags: ['lab'] });
  assert.deepEqual(calls.find(({ name }) => name === 'apiTokens.create')?.args[0], payload);
  for (const wrong of [{ hosts: [] }, { tags: [] }, { hosts: ['a/b'] }, { tags: ['a b'] }, { hosts: 'x' }]) {
    const answer = await ask(api, {
      ...{ method: 'POST', url: '/api/v1/api-tokens', headers: as('admin') },
      payload: { name: 'ci', role: 'viewer', ...wrong },
    });
    assert.equal(answer.json().code, 'VALIDATION', JSON.stringify(wrong));
  }
});

test('a token is rotated, at once or after an overlap', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const rotate = (payload?: object) =>
    ask(api, {
      ...{ method: 'POST', url: '/api/v1/api-tokens/t1/rotate', headers: as('admin') },
      ...(payload && { payload }),
    });
  assert.equal((await rotate()).json().token, 'fla1.next');
  assert.equal((await rotate({ overlapSeconds: 604_800 })).statusCode, 201);
  for (const overlapSeconds of [-1, 604_801, 1.5, '60']) {
    assert.equal((await rotate({ overlapSeconds })).json().code, 'VALIDATION', String(overlapSeconds));
  }
  const asked = calls.filter(({ name }) => name === 'apiTokens.rotate').map(({ args }) => args.slice(0, 2));
  assert.deepEqual(asked, [
    ['t1', 0],
    ['t1', 604_800],
  ]);
});
