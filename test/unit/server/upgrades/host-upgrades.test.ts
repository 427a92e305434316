/** Upgrades of hosts as they are kept: over restarts, floods of what agents say, and hosts that go. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { Audit } from '../../../../server/audit/audit.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { Releases } from '../../../../server/releases/releases.ts';
import { openStore } from '../../../../server/store/store.ts';
import { HostUpgrades } from '../../../../server/upgrades/host-upgrades.ts';
import { systemClock } from '../../../../shared/clock.ts';
import type { Hello } from '../../../../shared/messages/control.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { testRelease } from '../../../support/releases.ts';
import { tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { aHost, HOST_IDS } from '../store/fixture.ts';

const log = pino({ level: 'silent' });
const by = { name: 'admin' };
const [HOST] = HOST_IDS;
const HELLO: Hello = {
  ...{ versions: [1], agentVersion: '0.1.0', instanceId: 'i', hostname: 'h', os: 'linux', arch: 'x64' },
  ...{ docker: { reachable: false }, capabilities: ['agent.upgrade'], policy: { allow: [], deny: [] } },
  upgrade: { able: true, sequence: 0 },
};

async function opened(t: TestContext) {
  const store = await openStore({ dataDir: join(await tempDir(t, 'upgrades'), 'data'), clock: systemClock });
  t.after(() => store.close());
  await store.hosts.insert({ ...aHost(HOST, 'edge'), agentVersion: '0.1.0' });
  const audit = new Audit({ store, clock: systemClock, log });
  const releases = await Releases.open({ store, audit, clock: systemClock, log, keys: new Map() });
  for (const sequence of [1, 2]) {
    const release = testRelease({ sequence, version: `0.${sequence + 1}.0`, bytes: 100 });
    await releases.add([release.signed], by);
    await releases.receive(release.signed, Readable.from([release.compressed]), by, new AbortController().signal);
  }
  const clock = new FakeClock();
  const told: string[] = [];
  const registry = new HostRegistry();
  const tell = ({ type }: { type: string }) => void told.push(type);
  const open = () => HostUpgrades.open({ store, audit, registry, releases, clock, log, tell });
  const upgrades = await open();
  const wish = (sequence: number, rolloutId?: string) =>
    upgrades.wish('edge', { release: releases.get(sequence), by, ...(rolloutId === undefined ? {} : { rolloutId }) });
  return { store, releases, upgrades, clock, told, open, wish };
}

test('what is under way is there after a restart, and is offered again', async (t) => {
  const { upgrades, open, wish } = await opened(t);
  assert.equal((await wish(1)).state, 'wished');
  assert.equal(upgrades.isUnderWay(HOST), false);
  assert.equal(upgrades.greet(HOST, HELLO)?.sequence, 1);
  assert.equal(upgrades.isUnderWay(HOST), true);
  upgrades.told(HOST, { sequence: 1, version: '0.2.0', state: 'trying' });
  await upgrades.close();
  const next = await open();
  assert.equal((await next.find(HOST))?.state, 'trying');
  assert.equal(next.greet(HOST, HELLO)?.sequence, 1);
  assert.equal(next.greet(HOST, { ...HELLO, agentVersion: '0.2.0' }), undefined);
  await next.close();
  assert.equal((await (await open()).find(HOST))?.state, 'done');
});

test('a newer wish takes the place of an older one, of which nothing is heard any more', async (t) => {
  const { upgrades, wish, told } = await opened(t);
  await wish(1);
  const first = upgrades.greet(HOST, HELLO);
  assert.ok(first && upgrades.offeredTo(HOST, first.sha256));
  await wish(2);
  assert.equal(upgrades.offeredTo(HOST, first.sha256), undefined);
  upgrades.told(HOST, { sequence: 1, version: '0.2.0', state: 'failed' });
  assert.equal((await upgrades.find(HOST))?.state, 'wished');
  assert.equal(upgrades.greet(HOST, HELLO)?.sequence, 2);
  assert.deepEqual(told, ['upgrade.offered', 'upgrade.offered']);
});

test('an agent that says much is written down as often as an upgrade has steps, and its end always', async (t) => {
  const { upgrades, wish, store, clock, told } = await opened(t);
  await wish(1);
  upgrades.greet(HOST, HELLO);
  let writes = 0;
  const put = store.hostUpgrades.put.bind(store.hostUpgrades);
  store.hostUpgrades.put = async (row) => {
    writes++;
    await put(row);
  };
  const say = (state: 'downloading' | 'verifying' | 'failed', receivedBytes = 1) =>
    upgrades.told(HOST, { sequence: 1, version: '0.2.0', state, receivedBytes });
  for (let i = 0; i < 1_000; i++) say(i % 2 === 0 ? 'downloading' : 'verifying', i);
  clock.advance(10_000);
  for (let i = 0; i < 1_000; i++) say('downloading', i);
  assert.equal((await upgrades.find(HOST))?.receivedBytes, 999);
  say('failed');
  await upgrades.close();
  assert.ok(writes <= 40, `${writes}`);
  assert.equal((await store.hostUpgrades.find(HOST))?.state, 'failed');
  assert.deepEqual(told.filter((type) => type === 'upgrade.failed').length, 1);
});

test('a host that a rollout has is left to it, and one that nobody waits for any more still has the last word', async (t) => {
  const { upgrades, wish } = await opened(t);
  const seen: string[] = [];
  upgrades.onChange(({ state }) => void seen.push(state));
  await wish(1, 'r1');
  await assert.rejects(wish(1), { code: 'CONFLICT', message: /the rollout r1/ });
  await assert.rejects(wish(2, 'r2'), { code: 'CONFLICT' });
  await assert.rejects(upgrades.cancel('edge', by), { code: 'CONFLICT' });
  upgrades.greet(HOST, HELLO);
  upgrades.giveUp(HOST, 2, 'not this one');
  upgrades.giveUp(HOST, 1, 'it took too long');
  const { state, code, detail } = (await upgrades.find(HOST)) ?? {};
  assert.deepEqual([state, code, detail], ['failed', 'TIMEOUT', 'it took too long']);
  assert.equal(upgrades.greet(HOST, HELLO), undefined);
  await upgrades.close();
  const heard = new Promise<void>((resolve) => upgrades.onChange(() => resolve()));
  upgrades.told(HOST, { sequence: 1, version: '0.2.0', state: 'done' });
  await heard;
  assert.deepEqual(seen, ['offered', 'failed', 'done']);
});

test('the wish for a host goes with it, and a revoked one keeps no release from going', async (t) => {
  const { upgrades, wish, releases, store } = await opened(t);
  await wish(1);
  await assert.rejects(releases.remove(1, by), { code: 'CONFLICT', message: /edge is to run it/ });
  await store.hosts.markRevoked(HOST, 1, 'gone');
  await assert.rejects(wish(1), { code: 'CONFLICT', message: /is revoked/ });
  await releases.remove(1, by);
  await upgrades.forget(HOST);
  assert.equal(await upgrades.find(HOST), undefined);
  assert.equal(await store.hostUpgrades.find(HOST), undefined);
});

test('an agent that takes its word back again and again fills neither the audit log nor the events', async (t) => {
  const { upgrades, wish, clock, told } = await opened(t);
  await wish(1);
  upgrades.greet(HOST, HELLO);
  const say = async (state: 'done' | 'failed') => {
    upgrades.told(HOST, { sequence: 1, version: '0.2.0', state });
    await waitFor('the store', async () => (await upgrades.find(HOST))?.endedAt !== undefined);
  };
  for (let i = 0; i < 20; i++) await say(i % 2 === 0 ? 'failed' : 'done');
  await waitFor('some of it', () => told.length >= 4);
  const ends = () => told.filter((type) => type !== 'upgrade.offered').length;
  assert.ok(ends() <= 4, told.join());
  const last = (await upgrades.find(HOST))?.state;
  clock.advance(600_000);
  await say(last === 'done' ? 'failed' : 'done');
  await waitFor('its word after a while', async () => (await upgrades.find(HOST))?.state !== last);
});
