/** Rollouts as the server runs them: what is written before it is done, what a restart finds, and whom a release is not for. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { RolloutRequest } from '../../../../server/rollouts/rollouts.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { waitFor } from '../../../support/wait.ts';
import { aHost } from '../store/fixture.ts';
import { ALL, ANN, asked, bench, Link, request, until } from './bench.ts';

test('what is asked is written down before, and while nothing can be written nobody is asked', async (t) => {
  const { store, clock, rollouts, upgrades, hosts } = await bench(t, 2);
  const made = await rollouts.create(request({ starts: false }), ANN);
  const real = store.transaction;
  store.transaction = () => Promise.reject(new FairleadError('STORE_FULL', 'no room'));
  await assert.rejects(rollouts.resume(made.id), (error) => isFairleadError(error, 'STORE_FULL'));
  await waitFor('the next attempt to be arranged', () => clock.pendingTimers > 0);
  assert.deepEqual(upgrades.wished, []);
  assert.equal((await store.rollouts.find(made.id))?.progress.state, 'planned');
  store.transaction = real;
  await waitFor('both to be asked', () => {
    clock.advance(1_000);
    return upgrades.wished.length === 2;
  });
  assert.deepEqual(new Set(upgrades.wished), new Set(hosts));
  assert.ok((await store.rollouts.hosts(made.id)).every(({ state }) => state === 'asked'));
});

test('after a restart those under way are asked once more or taken as they ended, and the others follow', async (t) => {
  const { rollouts, upgrades, open, store } = await bench(t, 3);
  const { id } = await rollouts.create(request({ options: { stages: ALL, parallel: 2, pauseSeconds: 0 } }), ANN);
  await asked(upgrades, 2);
  const [ended = '', lost = ''] = upgrades.wished;
  await rollouts.close();
  // One ends while no rollout listens; of the other, nothing is known, as if it had never been asked.
  upgrades.end(ended, 'done');
  upgrades.rows.delete(lost);
  assert.ok((await store.rollouts.hosts(id)).filter(({ state }) => state === 'asked').length === 2);
  const again = await open();
  await asked(upgrades, 4);
  assert.deepEqual(upgrades.wished.slice(2, 3), [lost]);
  assert.equal((await again.get(id)).total.done, 1);
  for (const hostId of upgrades.wished.slice(2)) upgrades.end(hostId, 'done');
  await until(again, id, 'done');
});

test('a host that cannot be asked is skipped; one of which the answer was lost is asked again', async (t) => {
  const { rollouts, upgrades, clock } = await bench(t, 2);
  upgrades.refusal = new FairleadError('CONFLICT', 'it has tried this release in vain');
  const { id } = await rollouts.create(request(), ANN);
  await asked(upgrades, 1);
  upgrades.end(upgrades.wished[0] ?? '', 'done');
  await until(rollouts, id, 'done');
  const { total } = await rollouts.get(id);
  assert.deepEqual([total.done, total.skipped], [1, 1]);
  const { items } = await rollouts.hosts(id, {}, 'skipped');
  assert.deepEqual(
    items.map(({ code, detail }) => [code, detail]),
    [['CONFLICT', 'it has tried this release in vain']],
  );

  upgrades.refusal = new FairleadError('STORE_UNAVAILABLE', 'for a while');
  await rollouts.create(request(), ANN);
  await waitFor('both to be asked', () => {
    clock.advance(1_000);
    return upgrades.wished.length === 3;
  });
});

test('a canary that says later that it went back halts the rollout, and one that is gone does so too', async (t) => {
  const { rollouts, upgrades, clock, links, registry } = await bench(t, 2);
  const options = { stages: [{ hosts: 1 }, { hosts: 1 }], pauseSeconds: 600, maxFailures: 0 };
  const { id } = await rollouts.create(request({ options }), ANN);
  await asked(upgrades, 1);
  const [canary = ''] = upgrades.wished;
  upgrades.end(canary, 'done');
  await waitFor('the canary to be done', async () => (await rollouts.get(id)).total.done === 1);
  upgrades.end(canary, 'failed');
  await until(rollouts, id, 'halted');
  assert.equal((await rollouts.get(id)).total.failed, 1);
  await rollouts.abort(id);

  const { id: second } = await rollouts.create(request({ options }), ANN);
  await asked(upgrades, 2);
  const next = upgrades.wished[1] ?? '';
  upgrades.end(next, 'done');
  await waitFor('the canary to be done', async () => (await rollouts.get(second)).total.done === 1);
  links.find(({ hostId }) => hostId === next)?.end('SHUTDOWN');
  await waitFor('its session to be gone', () => registry.link(next) === undefined);
  clock.advance(600_000);
  await until(rollouts, second, 'halted');
  assert.match((await rollouts.get(second)).progress.reason ?? '', /the host that was upgraded is offline/);
});

test('after a restart the next stage begins as soon as a host that was upgraded is back', async (t) => {
  const { rollouts, upgrades, clock, links, registry, open } = await bench(t, 2);
  const options = { stages: [{ hosts: 1 }, { hosts: 1 }], pauseSeconds: 600 };
  const { id } = await rollouts.create(request({ options }), ANN);
  await asked(upgrades, 1);
  const [canary = ''] = upgrades.wished;
  upgrades.end(canary, 'done');
  await waitFor('the canary to be done', async () => (await rollouts.get(id)).total.done === 1);
  await rollouts.close();
  links.find(({ hostId }) => hostId === canary)?.end('SHUTDOWN');
  await waitFor('its session to be gone', () => registry.link(canary) === undefined);
  clock.advance(600_000);
  const again = await open();
  await waitFor('it to look at its hosts', () => clock.pendingTimers > 0);
  assert.equal(upgrades.wished.length, 1);
  registry.attach(new Link(canary));
  await asked(upgrades, 2);
  assert.equal((await again.get(id)).progress.stage, 1);
});

test('a host that is late has failed, and what was wished there is given up', async (t) => {
  const { rollouts, upgrades, clock, told } = await bench(t, 1);
  const options = { stages: ALL, hostTimeoutSeconds: 60 };
  const { id } = await rollouts.create(request({ options }), ANN);
  await asked(upgrades, 1);
  clock.advance(60_000);
  await until(rollouts, id, 'halted');
  await waitFor('it to be given up', () => upgrades.givenUp.length === 1);
  assert.deepEqual(upgrades.givenUp, upgrades.wished);
  assert.deepEqual(told, ['rollout.started', 'rollout.halted']);
  assert.notEqual((await rollouts.get(id)).progress.endedAt, undefined, 'it was the only one');
});

test('a step of the wall clock fails no host under way and gives up none that is waited for', async (t) => {
  const { rollouts, upgrades, clock, store } = await bench(t, 2);
  await store.hosts.insert(aHost(randomUUID(), 'away'));
  const { id } = await rollouts.create(request({ options: { stages: ALL, hostTimeoutSeconds: 60 } }), ANN);
  await asked(upgrades, 2);
  const stepped = clock.now() + 400 * 86_400_000;
  clock.setWallClock(stepped);
  upgrades.end(upgrades.wished[0] ?? '', 'done');
  await waitFor('its end', async () => (await rollouts.get(id)).total.done === 1);
  const { progress, total } = await rollouts.get(id);
  assert.deepEqual([progress.state, total.asked, total.waiting], ['running', 1, 1]);
  const { items } = await rollouts.hosts(id, {}, 'done');
  assert.equal(items[0]?.endedAt, stepped, 'what is written down is by the wall clock');
  clock.setWallClock(0);
  clock.advance(60_000);
  await until(rollouts, id, 'halted');
});

test('hosts that are removed or revoked meanwhile are skipped', async (t) => {
  const { rollouts, upgrades, hosts, links, store, clock, remove } = await bench(t, 3);
  const { id } = await rollouts.create(request(), ANN);
  await asked(upgrades, 3);
  remove(hosts[0] ?? '');
  await store.hosts.markRevoked(hosts[1] ?? '', clock.now(), 'lost');
  links[1]?.end('CERT_REVOKED');
  links[2]?.end('CERT_REVOKED');
  const skipped = await waitFor('both to be skipped', async () => {
    const { items } = await rollouts.hosts(id, {}, 'skipped');
    return items.length === 2 && items;
  });
  assert.deepEqual(new Set(skipped.map(({ code }) => code)), new Set(['HOST_NOT_FOUND', 'CERT_REVOKED']));
  upgrades.end(hosts[2] ?? '', 'done');
  await until(rollouts, id, 'done');
});

test('hosts that the release is not for are named and left alone', async (t) => {
  const { rollouts, upgrades, store, registry, hosts } = await bench(t, 2);
  const current = randomUUID();
  await store.hosts.insert({ ...aHost(current, 'current'), agentVersion: '9.0.0' });
  const hawser = randomUUID();
  await store.hosts.insert({ ...aHost(hawser, 'hawser'), kind: 'hawser-edge' });
  const unable = randomUUID();
  await store.hosts.insert(aHost(unable, 'unable'));
  registry.attach(new Link(unable, false));
  const { id, total } = await rollouts.create(request(), ANN);
  assert.deepEqual([total.hosts, total.skipped], [5, 3]);
  const { items } = await rollouts.hosts(id, { limit: 10 });
  const why = items.filter(({ stage }) => stage === -1).map(({ hostId, code }) => [hostId, code]);
  assert.deepEqual(
    new Map(why as [string, unknown][]),
    new Map<string, unknown>([
      [current, undefined],
      [hawser, 'UNSUPPORTED'],
      [unable, 'CONFLICT'],
    ]),
  );
  await asked(upgrades, 2);
  assert.deepEqual(new Set(upgrades.wished), new Set(hosts));

  const asks = (select: RolloutRequest['select']) => rollouts.create(request({ select }), ANN);
  const refused = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);
  await assert.rejects(asks({}), refused('VALIDATION'));
  await assert.rejects(asks({ hosts: ['nobody'] }), refused('HOST_NOT_FOUND'));
  await assert.rejects(asks({ hosts: ['unable'] }), { code: 'CONFLICT', message: /it runs from a checkout/ });
  await assert.rejects(asks({ tags: ['none'] }), { code: 'CONFLICT', message: /no host is selected/ });
  await assert.rejects(asks({ hosts: ['host-0'] }), { code: 'CONFLICT', message: /host-0 is in the rollout/ });
  await assert.rejects(rollouts.get('nothing'), refused('NOT_FOUND'));
  await assert.rejects(rollouts.pause('nothing'), refused('NOT_FOUND'));
});

test('no two rollouts that are made at once take the same host; aborted, one goes on until those under way have ended', async (t) => {
  const { rollouts, upgrades } = await bench(t, 17);
  const both = await Promise.allSettled([rollouts.create(request(), ANN), rollouts.create(request(), ANN)]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
  const [first] = (await rollouts.list({})).items;
  await asked(upgrades, 10);
  const { total } = await rollouts.abort(first?.id ?? '');
  assert.deepEqual([total.asked, total.cancelled], [10, 7]);
  for (const hostId of upgrades.wished) upgrades.end(hostId, 'done');
  await waitFor('its end', async () => (await rollouts.get(first?.id ?? '')).progress.endedAt);
  await assert.rejects(rollouts.resume(first?.id ?? ''), { code: 'CONFLICT', message: /is aborted and over/ });
});

test('there is a limit to rollouts that have not ended', async (t) => {
  const { rollouts } = await bench(t, 17);
  const one = (index: number) => rollouts.create(request({ select: { hosts: [`host-${index}`] }, starts: false }), ANN);
  for (let index = 0; index < 16; index++) await one(index);
  await assert.rejects(one(16), { code: 'OVERLOADED' });
});

test('pages of rollouts and of their hosts go on where the last one ended; those that ended first are forgotten', async (t) => {
  const { rollouts, store, clock } = await bench(t, 5);
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) {
    const { id } = await rollouts.create(request({ starts: false }), ANN);
    ids.push(id);
    clock.advance(1_000);
    await rollouts.abort(id);
  }
  const page = await rollouts.list({ limit: 2 });
  assert.deepEqual(
    page.items.map(({ id }) => id),
    [ids[2], ids[1]],
  );
  const rest = await rollouts.list({ limit: 2, cursor: page.nextCursor });
  assert.deepEqual(
    rest.items.map(({ id, total }) => [id, total.cancelled]),
    [[ids[0], 5]],
  );
  const hosts = await rollouts.hosts(ids[0] ?? '', { limit: 3 });
  const more = await rollouts.hosts(ids[0] ?? '', { limit: 3, cursor: hosts.nextCursor });
  assert.deepEqual(
    [...hosts.items, ...more.items].map(({ place }) => place),
    [0, 1, 2, 3, 4],
  );
  await store.transaction((tables) => tables.rollouts.prune(1));
  assert.deepEqual(
    (await rollouts.list({})).items.map(({ id }) => id),
    [ids[2]],
  );
  assert.deepEqual(await store.rollouts.hosts(ids[0] ?? ''), []);
});
