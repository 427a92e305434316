import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { waitFor } from '../../../support/wait.ts';
import { HOST } from './fake-host.ts';
import { as, ask, fixture, listen } from './fakes.ts';

const V = '/api/v1/hosts/edge-1/volumes/data';

test('a directory comes as a list that says whether it is whole', async (t) => {
  const entry = { name: 'a', type: 'file', size: 1, mode: 0o644, uid: 0, gid: 0, mtime: '2026-01-01T00:00:00.000Z' };
  const { api, host } = await fixture({
    answers: {
      'volume.browse': ({ stream }) => {
        stream.itemList = [entry];
        stream.trailer.resolve({ truncated: true });
        return {};
      },
    },
  });
  t.after(() => api.close());
  const answer = await ask(api, { url: `${V}/files?path=dir/sub&limit=1`, headers: as('operator') });
  assert.deepEqual(answer.json(), { items: [entry], truncated: true });
  assert.deepEqual(host.asked[0]?.params, { volume: 'data', path: 'dir/sub', limit: 1 });
});

test('paths that lead out of a volume, and names that are none, reach no host', async (t) => {
  const { api, host } = await fixture({
    answers: {
      'volume.browse': ({ stream }) => {
        stream.trailer.resolve({ truncated: false });
        return {};
      },
    },
  });
  t.after(() => api.close());
  for (const path of ['..', '../x', 'a/../b', '/etc', 'a/..', 'a%0a/../b', 'a%00b']) {
    for (const what of ['files', 'archive']) {
      const answer = await ask(api, { url: `${V}/${what}?path=${path}`, headers: as('operator') });
      assert.deepEqual([answer.statusCode, answer.json().code], [400, 'VALIDATION'], path);
    }
  }
  const url = '/api/v1/hosts/edge-1/volumes/..%2fx/files';
  assert.equal((await ask(api, { url, headers: as('operator') })).statusCode, 400);
  assert.deepEqual(host.asked, []);
  const fine = await ask(api, { url: `${V}/files?path=a..b/..c`, headers: as('operator') });
  assert.deepEqual(fine.json(), { items: [], truncated: false });
});

test('a download is written down before its first byte, and is broken off when the host breaks off', async (t) => {
  const made = await fixture({ answers: { 'volume.export': () => ({}) } });
  t.after(() => made.api.close());
  const asked = fetch(`${await listen(made)}${V}/archive`, { headers: as('operator') });
  const { stream } = await waitFor('the export', () => made.host.asked[0]);
  stream.output.write('half a tar');
  const response = await asked;
  assert.equal(response.headers.get('content-type'), 'application/x-tar');
  const row = made.audit.find(({ action }) => action === 'volume.export');
  assert.deepEqual([row?.target, row?.result], ['edge-1/data', 'ok']);
  stream.interrupt(new FairleadError('STREAM_INTERRUPTED', 'the host is gone'));
  await assert.rejects(response.text(), 'a half tar must not look whole');
});

test('an upload goes to the host as it comes, and says whether the volume is new', async (t) => {
  const { api, host, audit } = await fixture({
    answers: {
      'volume.import': async ({ stream }) => {
        const chunks: Buffer[] = [];
        for await (const chunk of stream.input) chunks.push(chunk as Buffer);
        return { created: Buffer.concat(chunks).toString() === 'a tar' };
      },
    },
  });
  t.after(() => api.close());
  const headers = { ...as('operator'), 'content-type': 'application/x-tar' };
  const put = (more: object) => ask(api, { method: 'PUT', url: `${V}/archive?path=in`, headers, ...more });
  assert.deepEqual((await put({ payload: 'a tar' })).json(), { created: true });
  assert.deepEqual(host.asked[0]?.params, { volume: 'data', path: 'in' });
  assert.equal((await put({})).json().code, 'VALIDATION', 'without a body');
  assert.equal(
    (await put({ payload: '{}', headers: { ...headers, 'content-type': 'application/json' } })).statusCode,
    415,
  );
  const rows = audit.filter(({ action }) => action === 'volume.import');
  assert.deepEqual(
    rows.map(({ result }) => result),
    ['ok', 'failed'],
  );
});

test('a transfer is begun for two hosts that the caller may use, and written down', async (t) => {
  const { api, calls, audit } = await fixture();
  t.after(() => api.close());
  const payload = { from: { host: 'edge-1', volume: 'a' }, to: { host: HOST.id, volume: 'b' }, replace: true };
  const post = (token: Parameters<typeof as>[0], body: object = payload) =>
    ask(api, { method: 'POST', url: '/api/v1/volume-transfers', headers: as(token), payload: body });
  const answer = await post('operator');
  assert.equal(answer.statusCode, 202, answer.body);
  assert.deepEqual(answer.json().from, { host: 'edge-1', hostId: HOST.id, volume: 'a' });
  const [request] = calls.find(({ name }) => name === 'volumeTransfers.create')?.args ?? [];
  const ends = { from: { hostId: HOST.id, volume: 'a' }, to: { hostId: HOST.id, volume: 'b' } };
  assert.deepEqual(request, { ...ends, replaces: true, forced: false });
  assert.equal((await post('operator#mine')).json().code, 'HOST_NOT_FOUND');
  assert.equal((await post('viewer')).statusCode, 403);
  assert.equal((await post('operator', { ...payload, to: { host: 'edge-1', volume: '../x' } })).statusCode, 400);
  const rows = audit.filter(({ action }) => action === 'volume.transfer');
  assert.deepEqual(
    rows.map(({ target, result }) => [target, result]),
    [
      [`edge-1/a to ${HOST.id}/b`, 'ok'],
      [`edge-1/a to ${HOST.id}/b`, 'failed'],
    ],
  );
  assert.ok(audit.some(({ action, result }) => action === 'POST /api/v1/volume-transfers' && result === 'refused'));
});

test('a transfer of hosts out of scope does not exist for a token', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const url = '/api/v1/volume-transfers/v1';
  for (const path of [url, `${url}/progress`]) {
    assert.equal((await ask(api, { url: path, headers: as('viewer#lab') })).statusCode, 200);
    assert.equal((await ask(api, { url: path, headers: as('viewer#mine') })).statusCode, 404);
  }
  assert.equal((await ask(api, { method: 'DELETE', url, headers: as('operator#mine') })).statusCode, 404);
  assert.ok(!calls.some(({ name }) => name === 'volumeTransfers.cancel'));
  assert.equal((await ask(api, { method: 'DELETE', url, headers: as('operator#lab') })).statusCode, 204);
});
