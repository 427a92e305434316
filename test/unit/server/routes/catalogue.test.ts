/**
 * Routes of images, networks and volumes, and of new containers, over a made-up host: what goes to it, what it may answer,
 * and what is written down.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { readDockerBody, readFilters } from '../../../../server/routes/docker-words.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { encodeValue } from '../../../../shared/mux/values.ts';
import { waitFor } from '../../../support/wait.ts';
import type { Asked } from './fake-host.ts';
import { as, ask, fixture, listen } from './fakes.ts';

const BASE = '/api/v1/hosts/edge-1';
const invalid = (error: unknown) => isFairleadError(error, 'VALIDATION');

/** Nested so deep. */
const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) });

test('a new container goes to the host as it is asked for; the log has what matters, and no secret', async (t) => {
  const made = { id: 'abc', warnings: ['no swap'] };
  const { api, host, audit } = await fixture({ answers: { 'container.create': () => made } });
  t.after(() => api.close());
  const body = {
    Image: 'app',
    Cmd: ['run'],
    Env: ['A=SECRET'],
    Labels: { x: 'SECRET' },
    HostConfig: { Privileged: true },
  };
  const headers = { ...as('operator'), 'idempotency-key': 'k' };
  const url = `${BASE}/containers?name=web&platform=linux/arm64`;
  const answer = await ask(api, { method: 'POST', url, headers, payload: body });
  assert.deepEqual([answer.statusCode, answer.json()], [201, { Id: 'abc', Warnings: ['no swap'] }]);
  const [asked] = host.asked;
  const idempotencyKey = createHash('sha256').update('id-operator\0k').digest('base64url');
  const params = { name: 'web', platform: 'linux/arm64', config: body, idempotencyKey };
  assert.deepEqual([asked?.params, asked?.timeoutMs], [params, 150_000]);
  const row = audit.find(({ action }) => action === 'container.create');
  assert.equal(row?.target, 'edge-1/web');
  const { name, platform } = params;
  assert.deepEqual(row?.detail, { name, platform, image: 'app', cmd: ['run'], privileged: true, id: 'abc' });
});

test('no body gets to the host that Docker could read in two ways, or that no message can hold', async (t) => {
  const { api, host } = await fixture({ answers: { 'container.create': () => ({ id: 'a', warnings: [] }) } });
  t.after(() => api.close());
  const refused: [body: unknown, status: number][] = [
    [{ Image: 'a', IMAGE: 'b' }, 400],
    [['a'], 400],
    [undefined, 400],
    [deep(13), 400],
    [{ Env: Array.from({ length: 10_000 }, () => 'x') }, 400],
    [{ Image: 'x'.repeat(300_000) }, 413],
  ];
  for (const [body, status] of refused) {
    const payload = body === undefined ? {} : { payload: body as object };
    const answer = await ask(api, { method: 'POST', url: `${BASE}/containers`, headers: as('operator'), ...payload });
    assert.equal(answer.statusCode, status, JSON.stringify(body)?.slice(0, 80));
  }
  assert.deepEqual(host.asked, []);
  const deepest = { payload: deep(12) as object };
  const answer = await ask(api, { method: 'POST', url: `${BASE}/containers`, headers: as('operator'), ...deepest });
  assert.equal(answer.statusCode, 201);
});

test('no field may be called __proto__, however deep', () => {
  const value: unknown = JSON.parse('{"Labels": [{"__proto__": 1}]}');
  assert.throws(() => readDockerBody(value as Parameters<typeof readDockerBody>[0]), invalid);
});

test('whatever is let through can be sent', () => {
  const limits = { bytes: 1024 * 1024 - 8, depth: 16, nodes: 10_000 };
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 14 }), (value) => {
      const body = { value };
      try {
        readDockerBody(body);
      } catch (error) {
        assert.ok(invalid(error));
        return;
      }
      encodeValue({ name: 'n', idempotencyKey: 'k', config: body }, limits, 'the parameters');
    }),
  );
});

test('filters are read as Docker’s clients write them, and nothing else is', () => {
  assert.deepEqual(readFilters(undefined), {});
  assert.deepEqual(readFilters('{"label":["a=b","c"]}'), { filters: { label: ['a=b', 'c'] } });
  assert.deepEqual(readFilters('{"label":{"a=b":true},"dangling":["true"]}'), {
    filters: { label: ['a=b'], dangling: ['true'] },
  });
  assert.deepEqual(readFilters('{"label!":["a"]}'), { filters: { 'label!': ['a'] } });
  for (const text of [
    'label',
    '{"__proto__":["a"]}',
    '{"":["a"]}',
    '[]',
    '1',
    '{"label":"a"}',
    '{"label":[1]}',
    '{"label":{"a":false}}',
    '{"a":[["b"]]}',
  ]) {
    assert.throws(() => readFilters(text), invalid, text);
  }
  assert.throws(() => readFilters(JSON.stringify({ label: Array(65).fill('a') })), invalid);
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        readFilters(text);
      } catch (error) {
        assert.ok(invalid(error));
      }
    }),
  );
});

test('each list has its order: images and networks by age, volumes by name, whatever a host makes of it', async (t) => {
  const lists: Record<string, object[]> = {
    'image.list': [
      { Id: 'sha256:b', Created: 5 },
      { Id: 'sha256:a', Created: 5 },
      { Id: 'sha256:c', Created: 9 },
      { Id: 7, Created: 'x' },
    ],
    'network.list': [
      { Id: 'old', Created: '2020-01-01T00:00:00.5Z' },
      { Id: 'new', Created: '2021-01-01T00:00:00Z' },
      { Id: 'none', Created: {} },
    ],
    'volume.list': [{ Name: 'b.c' }, { Name: 'b' }, { Name: 'a_1', CreatedAt: 'x' }, { Name: null }],
  };
  const answers = Object.fromEntries(
    Object.entries(lists).map(([kind, items]) => [
      kind,
      ({ stream }: Asked) => {
        stream.itemList = items;
        return { count: items.length };
      },
    ]),
  );
  const { api, host } = await fixture({ answers });
  t.after(() => api.close());
  const listed = async (family: string, name: string) => {
    const found: unknown[] = [];
    let cursor = '';
    for (let pages = 0; pages < 9; pages++) {
      const url = `${BASE}/${family}?limit=1${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
      const page = (await ask(api, { url, headers: as('viewer') })).json();
      found.push(...page.items.map((item: Record<string, unknown>) => item[name]));
      cursor = page.nextCursor ?? '';
      if (cursor === '') break;
    }
    return found;
  };
  assert.deepEqual(await listed('images', 'Id'), ['sha256:c', 'sha256:a', 'sha256:b', 7]);
  assert.deepEqual(await listed('networks', 'Id'), ['new', 'old', 'none']);
  assert.deepEqual(await listed('volumes', 'Name'), [null, 'a_1', 'b', 'b.c']);
  const filters = encodeURIComponent('{"dangling":["true"]}');
  await ask(api, { url: `${BASE}/images?all=1&filters=${filters}`, headers: as('viewer') });
  assert.deepEqual(host.asked.at(-1)?.params, { all: true, digests: false, filters: { dangling: ['true'] } });
});

test('changes leave rows that say what was asked for and what came of it', async (t) => {
  const { api, host, audit } = await fixture({
    answers: {
      'image.remove': () => ({ removed: [{ Untagged: 'a/b:1' }] }),
      'image.tag': () => ({}),
      'image.prune': () => ({ ImagesDeleted: [{ Deleted: 'x' }, { Deleted: 'y' }], SpaceReclaimed: 7 }),
      'network.connect': () => ({}),
      'volume.create': ({ params }) => ({ Name: 'made', Options: (params['config'] as object) && { o: 'SECRET' } }),
      'volume.remove': () => Promise.reject(new FairleadError('CONFLICT', 'volume is in use')),
    },
  });
  t.after(() => api.close());
  const call = async (method: 'POST' | 'DELETE', path: string, payload?: object) => {
    const body = payload === undefined ? {} : { payload };
    return (await ask(api, { method, url: BASE + path, headers: as('operator'), ...body })).statusCode;
  };
  assert.equal(await call('DELETE', '/images/a%2Fb:1?force=1'), 200);
  assert.equal(await call('POST', '/images/a%2Fb@sha256:12/tag', { repo: 'c', tag: '2' }), 204);
  assert.equal(await call('POST', '/images/prune?dangling=0'), 200);
  const EndpointConfig = { DriverOpts: { password: 'SECRET' } };
  assert.equal(await call('POST', '/networks/lan/connect', { Container: 'web', EndpointConfig }), 204);
  assert.equal(await call('POST', '/volumes', { Driver: 'local', DriverOpts: { o: 'password=SECRET' } }), 201);
  assert.equal(await call('DELETE', '/volumes/data'), 409);
  const rows = audit.filter(({ action }) => action !== 'login');
  assert.deepEqual(
    rows.map(({ action, target, result, detail }) => [action, target, result, detail]),
    [
      ['image.remove', 'edge-1/a/b:1', 'ok', { force: true, noprune: false }],
      ['image.tag', 'edge-1/a/b@sha256:12', 'ok', { repo: 'c', tag: '2' }],
      ['image.prune', 'edge-1', 'ok', { dangling: false, removed: 2, reclaimedBytes: 7 }],
      ['network.connect', 'edge-1/lan', 'ok', { container: 'web' }],
      ['volume.create', 'edge-1', 'ok', { driver: 'local', name: 'made' }],
      ['volume.remove', 'edge-1/data', 'failed', { force: false, code: 'CONFLICT' }],
    ],
  );
  assert.deepEqual(host.asked[3]?.params, { id: 'lan', container: 'web', endpoint: EndpointConfig });
});

test('a change outlives its client, and is written down; one whose host is lost says so', async (t) => {
  const begun = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<object>();
  const made = await fixture({
    answers: {
      'image.prune': () => {
        begun.resolve();
        return answer.promise;
      },
      'volume.prune': () =>
        Promise.reject(new FairleadError('STREAM_INTERRUPTED', 'the connection to the host was lost')),
    },
  });
  t.after(() => made.api.close());
  const url = await listen(made);
  const leaving = new AbortController();
  const headers = as('operator');
  const asked = fetch(`${url}${BASE}/images/prune`, { method: 'POST', headers, signal: leaving.signal });
  await begun.promise;
  leaving.abort();
  await assert.rejects(asked, { name: 'AbortError' });
  answer.resolve({ ImagesDeleted: [], SpaceReclaimed: 3 });
  const row = await waitFor('the row', () => made.audit.find(({ action }) => action === 'image.prune'));
  assert.deepEqual([row.result, row.detail], ['ok', { removed: 0, reclaimedBytes: 3 }]);
  assert.equal(made.host.asked[0]?.stream.resetWith, undefined);

  const lost = await ask(made.api, { method: 'POST', url: `${BASE}/volumes/prune`, headers });
  assert.deepEqual([lost.statusCode, lost.json().code], [502, 'STREAM_INTERRUPTED']);
  assert.deepEqual(made.audit.at(-1)?.detail, { code: 'STREAM_INTERRUPTED' });
});
