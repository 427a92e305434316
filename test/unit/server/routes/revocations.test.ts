import assert from 'node:assert/strict';
import { test } from 'node:test';
import { as, ask, fixture } from './fakes.ts';

test('many revocations: for admins alone, with something to revoke, and with what was not found', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const post = (payload: object, role: 'operator' | 'admin' = 'admin') =>
    ask(api, { method: 'POST', url: '/api/v1/revocations', headers: as(role), payload });
  assert.equal((await post({ tag: 'lab' }, 'operator')).statusCode, 403);
  for (const wrong of [{}, { hosts: [] }, { serials: ['no hex'] }, { hosts: ['a'], more: 1 }, { tag: 'a b' }]) {
    const answer = await post(wrong);
    assert.deepEqual([answer.statusCode, answer.json().code], [400, 'VALIDATION'], JSON.stringify(wrong));
  }
  assert.equal(calls.filter(({ name }) => name === 'hosts.revokeMany').length, 0);
  const answer = await post({ hosts: ['edge-1', 'gone'], serials: ['AB:12'], reason: 'lost' });
  assert.equal(answer.statusCode, 200, answer.body);
  assert.deepEqual(answer.json().notFound, { hosts: ['gone'], serials: ['AB:12'] });
  assert.equal(answer.json().hosts[0].name, 'edge-1');
  const [call] = calls.filter(({ name }) => name === 'hosts.revokeMany');
  assert.deepEqual(call?.args[1], { name: 'the-admin', address: '127.0.0.1' });
});
