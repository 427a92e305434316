/** Many hosts at once: lists that are narrowed down, and bulk actions with their plan, their limits and their rows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { type Answer, type Asked, HOST } from './fake-host.ts';
import { as, ask, fixture, listen } from './fakes.ts';

const ACTIONS = '/api/v1/containers/actions';
const hosts = [HOST, { ...HOST, id: 'h2', name: 'edge-2', state: 'offline' as const, tags: ['eu'] }];
const id = (n: number) => String(n).repeat(64);
const container = (n: number, name: string, more: object = {}) => ({
  ...{ Id: id(n), Names: [`/${name}`], Image: 'app:1', State: 'running', Created: n, Labels: { tier: 'front' } },
  ...more,
});
const LIST = [
  container(1, 'web-1'),
  container(2, 'web-2', { Image: 'app:2', Labels: { tier: 'back' } }),
  container(3, 'db', { State: 'exited', Labels: null }),
  container(4, 'odd', { Names: 'none', State: 7 }),
];
const list: Answer = ({ stream }) => {
  stream.itemList = LIST;
  return { count: LIST.length };
};
const done: Answer = () => ({});
const recordsOf = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

test('containers of all hosts are found by name, image, state, label and host', async (t) => {
  const { api, host } = await fixture({ hosts, answers: { 'container.list': list } });
  t.after(() => api.close());
  const names = async (query: string) => {
    const answer = (await ask(api, { url: `/api/v1/containers?${query}`, headers: as('viewer') })).json();
    return answer.items.map((one: { Id: string }) => Number(one.Id[0]));
  };
  assert.deepEqual(await names(''), [4, 3, 2, 1]);
  assert.deepEqual(await names('name=web-*'), [2, 1]);
  assert.deepEqual(await names('name=db&name=web-1'), [3, 1]);
  assert.deepEqual(await names('image=*:2'), [2]);
  assert.deepEqual(await names('label=tier=front&label=tier'), [4, 1]);
  assert.deepEqual(await names('label=constructor'), []);
  assert.deepEqual(await names('state=exited'), [3]);
  assert.equal(host.asked.at(-1)?.params['all'], true);
  assert.deepEqual(await names('host=EDGE-1&limit=2'), [4, 3]);
  const limited = (await ask(api, { url: '/api/v1/containers?limit=1', headers: as('viewer') })).json();
  assert.deepEqual([limited.omitted, limited.unreachable.length], [3, 1]);
  const missing = await ask(api, { url: '/api/v1/containers?host=nobody', headers: as('viewer') });
  assert.equal(missing.json().code, 'HOST_NOT_FOUND');
  const outside = await ask(api, { url: '/api/v1/containers?host=edge-2', headers: as('viewer#lab') });
  assert.equal(outside.json().code, 'HOST_NOT_FOUND');
});

test('images, volumes and networks of all hosts are one list each', async (t) => {
  const answer: Answer = ({ stream }) => {
    stream.itemList = [{ Id: 'sha256:a', Name: 'a', Created: 1 }];
    return { count: 1 };
  };
  const answers = { 'image.list': answer, 'volume.list': answer, 'network.list': answer };
  const { api } = await fixture({ hosts, answers });
  t.after(() => api.close());
  for (const what of ['images', 'volumes', 'networks']) {
    const found = (await ask(api, { url: `/api/v1/${what}`, headers: as('viewer') })).json();
    assert.deepEqual([found.items[0].host, found.unreachable[0].code], ['edge-1', 'HOST_OFFLINE'], what);
  }
});

/** A host with a stack of ours and one of others; a change of `bad` fails. */
const STACKS: Record<string, Answer> = {
  'stack.list': ({ stream }) => {
    stream.itemList = [
      { stack: 'web', services: ['web'], containers: 2, running: 1 },
      { stack: 'bad', services: ['app'], containers: 1, running: 1 },
    ];
    return { count: 2 };
  },
  'stack.status': ({ stream }) => {
    stream.itemList = [{ Id: id(1), State: 'running' }];
    return { count: 1 };
  },
};
for (const kind of ['stack.deploy', 'stack.pull', 'stack.start', 'stack.stop', 'stack.restart']) {
  STACKS[kind] = ({ params, stream }) => {
    if (params['stack'] === 'bad') throw new FairleadError('DOCKER_ERROR', 'no space');
    stream.trailer.resolve({});
    return { compose: '2.26.1' };
  };
}

test('stacks of all hosts are one list, by name, with what was deployed; hosts that do not answer are named', async (t) => {
  const { api } = await fixture({ hosts, answers: STACKS });
  t.after(() => api.close());
  const list = async (query: string, token: 'viewer' | 'viewer#lab' = 'viewer') =>
    (await ask(api, { url: `/api/v1/stacks?${query}`, headers: as(token) })).json();
  const { items, unreachable } = await list('');
  assert.deepEqual(
    items.map(({ name, host, hostId, running, revision }: Record<string, unknown>) => [
      ...[name, host, hostId, running],
      (revision as { revision: number } | null)?.revision,
    ]),
    [
      ['bad', 'edge-1', HOST.id, 1, undefined],
      ['web', 'edge-1', HOST.id, 1, 3],
    ],
  );
  assert.deepEqual([unreachable.length, unreachable[0].host, unreachable[0].code], [1, 'edge-2', 'HOST_OFFLINE']);
  assert.deepEqual(
    (await list('name=w*&tag=lab')).items.map(({ name }: { name: string }) => name),
    ['web'],
  );
  assert.deepEqual((await list('', 'viewer#lab')).unreachable, []);
  assert.equal((await list('host=edge-2', 'viewer#lab')).code, 'HOST_NOT_FOUND');
});

test('a bulk action on stacks is for those that it applies to, and each has its row', async (t) => {
  const { api, host, audit } = await fixture({ answers: STACKS });
  t.after(() => api.close());
  const call = async (payload: object, token: 'operator' | 'viewer' = 'operator') =>
    await ask(api, { method: 'POST', url: '/api/v1/stacks/actions', headers: as(token), payload });
  const planned = async (action: string, select: object = { all: true }) =>
    recordsOf((await call({ action, select, dryRun: true })).body).flatMap((one) =>
      one.type === 'stack' ? [`${one.stack} ${one.running}/${one.containers} ${one.result}`] : [],
    );
  assert.deepEqual(await planned('stop', { name: ['*'] }), ['bad 1/1 planned', 'web 1/2 planned']);
  assert.deepEqual(await planned('start', { tag: ['lab'] }), ['web 1/2 planned']);
  assert.deepEqual(await planned('redeploy'), ['web 1/2 planned']);
  assert.ok(host.asked.every(({ kind }) => kind === 'stack.list'));

  const redeployed = recordsOf((await call({ action: 'redeploy', select: { all: true }, pull: true })).body);
  assert.deepEqual([redeployed[1].stack, redeployed[1].result], ['web', 'ok']);
  assert.equal(host.asked.at(-1)?.params['pull'], true);
  const restarted = recordsOf((await call({ action: 'restart', select: { host: ['edge-1'] } })).body);
  const { ok, failed, operationId } = restarted.at(-1);
  assert.deepEqual([ok, failed], [1, 1]);
  const told = restarted.find(({ stack }) => stack === 'bad');
  assert.deepEqual([told.code, told.detail], ['DOCKER_ERROR', 'no space']);
  const rows = audit.filter(({ detail }) => detail?.['operationId'] === operationId);
  assert.deepEqual(rows.map(({ action, target, result }) => [action, target, result]).sort(), [
    ['stack.bulk', 'restart', 'failed'],
    ['stack.restart', `${HOST.id}/bad`, 'failed'],
    ['stack.restart', `${HOST.id}/web`, 'ok'],
  ]);
  assert.match((await call({ action: 'stop', select: {} })).json().detail, /say which stacks/);
  assert.equal((await call({ action: 'stop', select: { all: true } }, 'viewer')).statusCode, 403);
});

test('a client that leaves ends the changes of stacks that go on, and nothing more is begun', async (t) => {
  const asked = Promise.withResolvers<Asked>();
  const { api, host } = await fixture({
    answers: {
      ...STACKS,
      'stack.stop': (one) => {
        asked.resolve(one);
        return { compose: '2.26.1' };
      },
    },
  });
  t.after(() => api.close());
  const url = `${await listen({ api })}/api/v1/stacks/actions`;
  const body = JSON.stringify({ action: 'stop', select: { all: true }, concurrency: 1 });
  const leaving = new AbortController();
  const headers = { ...as('operator'), 'content-type': 'application/json' };
  const answer = await fetch(url, { method: 'POST', headers, body, signal: leaving.signal });
  const { stream } = await asked.promise;
  leaving.abort();
  await assert.rejects(answer.text());
  await stream.wasReset.promise;
  assert.equal(host.asked.filter(({ kind }) => kind === 'stack.stop').length, 1);
});

test('a bulk action says what it will do, does it, records each, and sums up', async (t) => {
  const restart: Answer = ({ params }) => {
    if (params['id'] === id(2)) throw new FairleadError('CONFLICT', 'it is busy');
    return {};
  };
  const { api, host, audit } = await fixture({
    hosts,
    answers: { 'container.list': list, 'container.restart': restart },
  });
  t.after(() => api.close());
  const payload = { action: 'restart', select: { tag: ['eu'], name: ['web-*'] }, timeoutSeconds: 3 };
  const headers = { ...as('operator'), 'idempotency-key': 'k' };
  const answer = await ask(api, { method: 'POST', url: ACTIONS, headers, payload });
  const [plan, ...rest] = recordsOf(answer.body);
  const summary = rest.pop();
  const { operationId } = plan;
  assert.deepEqual([plan.type, plan.matched, plan.hosts, plan.unreachable[0].host], ['plan', 2, 2, 'edge-2']);
  const told = rest.map(({ container, result, code, repeat }) => [container, result, code, repeat]);
  assert.deepEqual(told.sort(), [
    ['web-1', 'ok', undefined, undefined],
    ['web-2', 'failed', 'CONFLICT', undefined],
  ]);
  const counts = { matched: 2, ok: 1, failed: 1, skipped: 0, unreachable: 1 };
  assert.deepEqual(summary, { type: 'summary', operationId, ...counts });
  const asked = host.asked.filter(({ kind }) => kind === 'container.restart');
  assert.deepEqual(
    asked.map(({ params }) => params['timeoutSeconds']),
    [3, 3],
  );
  const keys = asked.map(({ params }) => params['idempotencyKey']);
  assert.equal(new Set(keys).size, 2);
  const rows = audit.filter(({ detail }) => detail?.['operationId'] === operationId);
  assert.deepEqual(rows.map(({ action, target, result }) => [action, target, result]).sort(), [
    ['container.bulk', 'restart', 'failed'],
    ['container.restart', `${HOST.id}/web-1`, 'ok'],
    ['container.restart', `${HOST.id}/web-2`, 'failed'],
  ]);
  await ask(api, { method: 'POST', url: ACTIONS, headers, payload });
  const again = host.asked
    .filter(({ kind }) => kind === 'container.restart')
    .map(({ params }) => params['idempotencyKey']);
  assert.deepEqual(again.slice(2).sort(), keys.sort());
});

test('a dry run touches nothing and leaves no row; each action is for containers in certain states', async (t) => {
  const { api, host, audit } = await fixture({ answers: { 'container.list': list } });
  t.after(() => api.close());
  const planned = async (action: string, more = {}, select: object = { all: true }) => {
    const payload = { action, select, dryRun: true, ...more };
    const answer = await ask(api, { method: 'POST', url: ACTIONS, headers: as('operator'), payload });
    return recordsOf(answer.body).flatMap((one) =>
      one.type === 'container' ? [`${one.container} ${one.result}`] : [],
    );
  };
  assert.deepEqual(await planned('stop'), ['web-1 planned', 'web-2 planned']);
  assert.deepEqual(await planned('start'), ['db planned']);
  assert.deepEqual(await planned('remove'), ['db planned']);
  assert.equal((await planned('remove', { force: true })).length, 3);
  assert.deepEqual(await planned('restart', {}, { state: ['exited'] }), ['db planned']);
  assert.ok(host.asked.every(({ kind }) => kind === 'container.list'));
  assert.deepEqual(
    audit.filter(({ action }) => action.startsWith('container')),
    [],
  );
});

test('after enough failures the others are skipped; who means all must say so; a viewer may not', async (t) => {
  const fail: Answer = () => {
    throw new FairleadError('DOCKER_ERROR', 'no');
  };
  const { api } = await fixture({ answers: { 'container.list': list, 'container.stop': fail } });
  t.after(() => api.close());
  const call = async (payload: object, token: 'operator' | 'viewer' = 'operator') =>
    await ask(api, { method: 'POST', url: ACTIONS, headers: as(token), payload });
  const careful = { action: 'stop', select: { all: true }, concurrency: 1, maxFailures: 1 };
  const { ok, failed, skipped } = recordsOf((await call(careful)).body).at(-1);
  assert.deepEqual([ok, failed, skipped], [0, 1, 1]);
  assert.match((await call({ action: 'stop', select: {} })).json().detail, /say which containers/);
  assert.equal((await call({ action: 'stop', select: { host: ['nobody'] } })).json().code, 'HOST_NOT_FOUND');
  assert.equal((await call({ action: 'explode', select: { all: true } })).statusCode, 400);
  assert.equal((await call(careful, 'viewer')).statusCode, 403);
});

test('a token with a scope touches its own hosts alone, and none that has left it meanwhile', async (t) => {
  const { api, host, deps } = await fixture({
    hosts: [HOST, { ...HOST, id: 'h3', name: 'other', tags: [] }],
    answers: { 'container.list': list, 'container.stop': done },
  });
  t.after(() => api.close());
  const payload = { action: 'stop', select: { all: true } };
  const call = async () =>
    recordsOf((await ask(api, { method: 'POST', url: ACTIONS, headers: as('operator#lab'), payload })).body);
  assert.deepEqual(
    [...new Set((await call()).flatMap((one) => (one.type === 'container' ? [one.host] : [])))],
    ['edge-1'],
  );
  const before = host.asked.length;
  deps.hosts.idInScope = async () => {
    throw new FairleadError('HOST_NOT_FOUND', 'there is no such host');
  };
  assert.equal((await call()).at(-1).failed, 2);
  assert.deepEqual(
    host.asked.slice(before).map(({ kind }) => kind),
    ['container.list'],
  );
});
