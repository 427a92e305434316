/** Containers over a made-up host: reading, changing, listing one host and all of them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { type Asked, HOST, NOW } from './fake-host.ts';
import { as, ask, fixture } from './fakes.ts';

const BASE = '/api/v1/hosts/edge-1/containers';
/** A key as it reaches the host. */
const keyOf = (token: string, key: string) => createHash('sha256').update(`id-${token}\0${key}`).digest('base64url');
const listed = (...items: object[]) => ({
  'container.list': ({ stream }: Asked) => {
    stream.itemList = items;
    return { count: items.length };
  },
});

test("a container is inspected in Docker's own words", async (t) => {
  const inspected = { Id: 'abc', State: { Running: true }, Deep: [{ x: null }] };
  const { api, host } = await fixture({ answers: { 'container.inspect': () => inspected } });
  t.after(() => api.close());
  const answer = await ask(api, { url: `${BASE}/web_1`, headers: as('viewer') });
  assert.deepEqual(answer.json(), inspected);
  assert.deepEqual(host.asked[0]?.params, { id: 'web_1' });
});

test('changes carry the key, are written down, and take the time they need', async (t) => {
  const { api, host, audit } = await fixture({
    answers: { 'container.stop': () => ({}), 'container.kill': () => ({}), 'container.remove': () => ({}) },
  });
  t.after(() => api.close());
  const headers = { ...as('operator'), 'idempotency-key': 'k1' };
  const idempotencyKey = keyOf('operator', 'k1');
  assert.equal((await ask(api, { method: 'POST', url: `${BASE}/web/stop?t=40`, headers })).statusCode, 204);
  assert.equal((await ask(api, { method: 'POST', url: `${BASE}/web/kill?signal=HUP`, headers })).statusCode, 204);
  assert.equal((await ask(api, { method: 'DELETE', url: `${BASE}/web?force&v=1`, headers })).statusCode, 204);
  assert.deepEqual(
    host.asked.map(({ kind, params, timeoutMs }) => ({ kind, params, timeoutMs })),
    [
      { kind: 'container.stop', params: { id: 'web', timeoutSeconds: 40, idempotencyKey }, timeoutMs: 70_000 },
      { kind: 'container.kill', params: { id: 'web', signal: 'HUP', idempotencyKey }, timeoutMs: 30_000 },
      {
        kind: 'container.remove',
        params: { id: 'web', force: true, volumes: true, idempotencyKey },
        timeoutMs: 30_000,
      },
    ],
  );
  const rows = audit.filter(({ action }) => action.startsWith('container.'));
  assert.deepEqual(rows[0], {
    actor: 'the-operator',
    address: '127.0.0.1',
    action: 'container.stop',
    target: 'edge-1/web',
    result: 'ok',
    detail: { timeoutSeconds: 40 },
  });
  assert.equal(rows.length, 3);
});

test('the same key of another caller is another key', async (t) => {
  const { api, host } = await fixture({ answers: { 'container.start': () => ({}) } });
  t.after(() => api.close());
  for (const token of ['operator', 'admin', 'operator'] as const) {
    const headers = { ...as(token), 'idempotency-key': '1' };
    assert.equal((await ask(api, { method: 'POST', url: `${BASE}/web/start`, headers })).statusCode, 204);
  }
  const keys = host.asked.map(({ params }) => (params as { idempotencyKey: string }).idempotencyKey);
  assert.deepEqual(
    keys,
    ['operator', 'admin', 'operator'].map((token) => keyOf(token, '1')),
  );
});

test('what a host refuses or fails is written down as that', async (t) => {
  const { api, audit } = await fixture({
    answers: {
      'container.start': () => Promise.reject(new FairleadError('DENIED_BY_HOST', 'not here')),
      'container.pause': () => Promise.reject(new FairleadError('CONTAINER_NOT_FOUND', 'no such container')),
    },
  });
  t.after(() => api.close());
  const start = await ask(api, { method: 'POST', url: `${BASE}/web/start`, headers: as('operator') });
  assert.deepEqual([start.statusCode, start.json().code], [403, 'DENIED_BY_HOST']);
  const pause = await ask(api, { method: 'POST', url: `${BASE}/web/pause`, headers: as('operator') });
  assert.deepEqual([pause.statusCode, pause.json().code], [404, 'CONTAINER_NOT_FOUND']);
  assert.deepEqual(
    audit
      .filter(({ action }) => action !== 'login')
      .map(({ action, result, detail }) => [action, result, detail?.['code']]),
    [
      ['container.start', 'refused', 'DENIED_BY_HOST'],
      ['container.pause', 'failed', 'CONTAINER_NOT_FOUND'],
    ],
  );
});

test('viewers change nothing', async (t) => {
  const { api, host } = await fixture();
  t.after(() => api.close());
  for (const verb of ['start', 'stop', 'restart', 'kill', 'pause', 'unpause']) {
    const answer = await ask(api, { method: 'POST', url: `${BASE}/web/${verb}`, headers: as('viewer') });
    assert.equal(answer.statusCode, 403);
  }
  assert.deepEqual(host.asked, []);
});

test("a host's containers come in pages that go on where the one before ended", async (t) => {
  const items = ['d', 'a', 'c', 'b'].map((Id, i) => ({ Id, Created: i === 0 ? 9 : 5 }));
  const { api } = await fixture({ answers: listed(...items) });
  t.after(() => api.close());
  const all = await ask(api, { url: `${BASE}?all=1`, headers: as('viewer') });
  assert.deepEqual(
    all.json().items.map(({ Id }: { Id: string }) => Id),
    ['d', 'a', 'b', 'c'],
  );
  assert.equal(all.json().nextCursor, null);
  const seen: string[] = [];
  let cursor = '';
  for (let i = 0; i < 3 && (i === 0 || cursor !== ''); i++) {
    const url = `${BASE}?limit=2${cursor && `&cursor=${cursor}`}`;
    const page = (await ask(api, { url, headers: as('viewer') })).json();
    seen.push(...page.items.map(({ Id }: { Id: string }) => Id));
    cursor = page.nextCursor ?? '';
  }
  assert.deepEqual(seen, ['d', 'a', 'b', 'c']);
  const wrong = await ask(api, { url: `${BASE}?cursor=zzz`, headers: as('viewer') });
  assert.equal(wrong.statusCode, 400);
});

test('a host that floods a list is stopped', async (t) => {
  const { api, host } = await fixture({
    answers: {
      'container.list': ({ stream }) => {
        stream.itemList = (function* () {
          for (;;) yield { Id: 'x'.repeat(1000) };
        })();
        return { count: 1 };
      },
    },
  });
  t.after(() => api.close());
  const answer = await ask(api, { url: BASE, headers: as('viewer') });
  assert.deepEqual([answer.statusCode, answer.json().code], [503, 'OVERLOADED']);
  assert.equal(host.asked[0]?.stream.resetWith?.code, 'OVERLOADED');
});

test('all hosts are asked, and one that cannot answer spoils nothing', async (t) => {
  const hosts = [
    HOST,
    { ...HOST, id: 'h2', name: 'edge-2', state: 'offline' as const },
    { ...HOST, id: 'h3', name: 'edge-3', tags: ['other'] },
    { ...HOST, id: 'h4', name: 'edge-4', state: 'revoked' as const },
  ];
  const { api } = await fixture({ hosts, answers: listed({ Id: 'abc' }) });
  t.after(() => api.close());
  const answer = (await ask(api, { url: '/api/v1/containers?tag=lab&all=true', headers: as('viewer') })).json();
  assert.deepEqual(answer.items, [{ Id: 'abc', host: 'edge-1', hostId: HOST.id }]);
  assert.deepEqual(answer.unreachable, [
    { host: 'edge-2', hostId: 'h2', code: 'HOST_OFFLINE', detail: 'host edge-2 is not connected', repeat: 'safe' },
  ]);
  const everywhere = (await ask(api, { url: '/api/v1/containers', headers: as('viewer') })).json();
  assert.equal(everywhere.items.length, 2);
});

test('a host that never answers is left behind at its deadline', async (t) => {
  const timers: (() => void)[] = [];
  const clock = {
    now: () => NOW,
    monotonic: () => 0,
    setTimeout: (callback: () => void) => {
      timers.push(callback);
      return { cancel: () => undefined };
    },
    setInterval: () => ({ cancel: () => undefined }),
  };
  const asked = Promise.withResolvers<void>();
  const { api } = await fixture({
    overrides: { clock },
    answers: {
      'container.list': () => {
        asked.resolve();
        return new Promise(() => undefined);
      },
    },
  });
  t.after(() => api.close());
  const answer = ask(api, { url: '/api/v1/containers', headers: as('viewer') });
  await asked.promise;
  for (const fire of timers) fire();
  const { unreachable, items } = (await answer).json();
  assert.deepEqual(items, []);
  assert.equal(unreachable[0].code, 'TIMEOUT');
});
