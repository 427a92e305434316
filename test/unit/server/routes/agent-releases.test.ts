/** Releases and upgrades by the API: what is refused of them is in the audit log as well. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { as, ask, fixture } from './fakes.ts';

const UPGRADE = '/api/v1/hosts/edge-1/upgrade';
const RELEASE = '/api/v1/agent-releases/7';
const BY = { actor: 'the-admin', address: '127.0.0.1', result: 'failed' };

async function made() {
  const bench = await fixture();
  const admin = async (method: 'POST' | 'DELETE', url: string, payload?: object) => {
    const body = payload === undefined ? {} : { payload };
    return await ask(bench.api, { method, url, headers: as('admin'), ...body });
  };
  const rows = () => bench.audit.filter(({ action }) => action !== 'login');
  return { ...bench, admin, rows };
}

test('a refused wish, a refused end of it and a refused removal leave rows that say why', async (t) => {
  const { api, deps, admin, rows } = await made();
  t.after(() => api.close());
  const refuse = () => Promise.reject(new FairleadError('CONFLICT', 'a rollout has it'));
  deps.upgrades.wish = refuse;
  deps.upgrades.cancel = refuse;
  deps.releases.remove = refuse;
  assert.equal((await admin('POST', UPGRADE, { version: '0.2.0', sequence: 7 })).statusCode, 409);
  assert.equal((await admin('DELETE', UPGRADE)).statusCode, 409);
  assert.equal((await admin('DELETE', RELEASE)).statusCode, 409);
  const chosen = { to: '0.2.0', sequence: 7 };
  assert.deepEqual(rows(), [
    { ...BY, action: 'host.upgrade', target: 'edge-1', detail: { ...chosen, code: 'CONFLICT' } },
    { ...BY, action: 'host.upgrade.cancel', target: 'edge-1', detail: { code: 'CONFLICT' } },
    { ...BY, action: 'release.remove', target: '7', detail: { code: 'CONFLICT' } },
  ]);
});

test('a wish for a release that there is none of leaves a row, too', async (t) => {
  const { api, deps, admin, rows } = await made();
  t.after(() => api.close());
  deps.releases.chosen = () => {
    throw new FairleadError('NOT_FOUND', 'there is no release of version 9.9.9');
  };
  assert.equal((await admin('POST', UPGRADE, { version: '9.9.9' })).statusCode, 404);
  assert.equal(rows().length, 1);
  assert.deepEqual(rows()[0]?.detail?.['code'], 'NOT_FOUND');
});

test('what is done is written down by whoever does it, with the change, and not once more', async (t) => {
  const { api, calls, admin, rows } = await made();
  t.after(() => api.close());
  assert.equal((await admin('POST', UPGRADE)).statusCode, 202);
  assert.equal((await admin('DELETE', UPGRADE)).statusCode, 204);
  assert.equal((await admin('DELETE', RELEASE)).statusCode, 204);
  const asked = calls
    .map(({ name }) => name)
    .filter((name) => name.startsWith('upgrades.') || name === 'releases.remove');
  assert.deepEqual(asked, ['upgrades.wish', 'upgrades.cancel', 'releases.remove']);
  assert.deepEqual(rows(), []);
});
