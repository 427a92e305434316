/** The routes of the CA: who may use them, what they ask, and how they answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { as, ask, fakeDeps, fixture } from './fakes.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

test('what is trusted is public, and names no host', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const ca = await ask(api, '/api/v1/ca');
  assert.equal(ca.statusCode, 200, ca.body);
  const { phase, trustVersion, roots, intermediate, warnings } = ca.json();
  assert.deepEqual([phase, trustVersion, intermediate, warnings], ['published', 2, null, ['it ends soon']]);
  assert.deepEqual(
    roots.map(({ role }: { role: string }) => role),
    ['current', 'next'],
  );
  assert.doesNotMatch(ca.body, /edge-1/);
});

test('the state of a rotation is for viewers, its steps are for admins', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const url = '/api/v1/ca/rotation';
  assert.equal((await ask(api, url)).statusCode, 401);
  const seen = (await ask(api, { url, headers: as('viewer') })).json();
  assert.deepEqual(seen.unacknowledged, [{ id: 'h1', name: 'edge-1' }]);
  assert.deepEqual(seen.otherOperatorCertificates, { count: 1, items: [] }, 'who the operators are is for admins');
  const { otherOperatorCertificates: named } = (await ask(api, { url, headers: as('admin') })).json();
  assert.deepEqual(named.items, [{ serial: 'AB', name: 'ann', notAfter: '1970-01-01T00:00:00.000Z' }]);
  const step = (role: 'operator' | 'admin', payload: object) =>
    ask(api, { method: 'POST', url, headers: { ...as(role), ...JSON_TYPE }, payload });
  assert.equal((await step('operator', { action: 'publish' })).statusCode, 403);
  assert.equal((await step('admin', { action: 'explode' })).statusCode, 400);
  assert.equal((await step('admin', { action: 'retire', force: true, more: 1 })).statusCode, 400);
  const done = await step('admin', { action: 'retire', force: true });
  assert.equal(done.statusCode, 200, done.body);
  const asked = calls.filter(({ name }) => name === 'rotation.take').map(({ args }) => args);
  assert.deepEqual(asked, [['retire', { force: true }, { name: 'the-admin', address: '127.0.0.1' }]]);
});

test('a step that would lock hosts out is a conflict that names them', async (t) => {
  const { rotation } = fakeDeps().deps;
  const take = async () => {
    throw new FairleadError('CONFLICT', 'these hosts: edge-1');
  };
  const { api } = await fixture({ overrides: { rotation: { ...rotation, take } } });
  t.after(() => api.close());
  const headers = { ...as('admin'), ...JSON_TYPE };
  const answer = await ask(api, { method: 'POST', url: '/api/v1/ca/rotation', headers, payload: { action: 'retire' } });
  assert.deepEqual([answer.statusCode, answer.json().detail], [409, 'these hosts: edge-1']);
});

test('requests for an offline root and what it signed are for admins', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const post = (role: 'operator' | 'admin', path: string, payload: object) =>
    ask(api, { method: 'POST', url: `/api/v1/ca/${path}`, headers: { ...as(role), ...JSON_TYPE }, payload });
  assert.equal((await post('operator', 'request', {})).statusCode, 403);
  assert.equal((await post('operator', 'import', { bundle: 'x' })).statusCode, 403);
  assert.equal((await post('admin', 'import', {})).statusCode, 400);
  assert.equal((await post('admin', 'import', { bundle: 'x'.repeat(70_000) })).statusCode, 400);
  assert.deepEqual((await post('admin', 'request', {})).json(), { csr: 'a request' });
  assert.deepEqual((await post('admin', 'import', { bundle: 'x' })).json(), { result: 'published' });
  assert.deepEqual(
    calls.filter(({ name }) => name === 'offlineRoot.import').map(({ args }) => args[0]),
    ['x'],
  );
});
