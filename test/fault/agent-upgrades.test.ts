/** The server's end of an upgrade, over real TLS: offers, reads of releases, what agents say, and sessions on trial. */
import assert from 'node:assert/strict';
import { rm, truncate } from 'node:fs/promises';
import https from 'node:https';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import type { Identity } from '../../agent/identity/state-dir.ts';
import { type Connection, connect } from '../../agent/link/connect.ts';
import type { HostLink } from '../../server/hosts/host-link.ts';
import { Releases } from '../../server/releases/releases.ts';
import { HostUpgrades } from '../../server/upgrades/host-upgrades.ts';
import { upgradeDoor } from '../../server/upgrades/upgrade-door.ts';
import { systemClock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { type Hello, heartbeat, heartbeatAck } from '../../shared/messages/control.ts';
import { hostInfo, hostLeave } from '../../shared/messages/host.ts';
import {
  type AgentUpgradeStatus,
  agentUpgrade,
  agentUpgradeStatus,
  releaseRead,
} from '../../shared/messages/release.ts';
import { connectAgent, liveListener } from '../support/live-listener.ts';
import { type TestRelease, type TestReleaseOptions, testRelease } from '../support/releases.ts';
import { waitFor } from '../support/wait.ts';

const log = pino({ level: 'silent' });
const ADMIN = { name: 'admin' };
const ABLE: Partial<Hello> = {
  agentVersion: '0.1.0',
  capabilities: [agentUpgrade.name],
  upgrade: { able: true, sequence: 0 },
};

async function started(t: TestContext) {
  const told: { hostId: string; type: string; attributes: Record<string, string> }[] = [];
  let parts: { releases: Releases; upgrades: HostUpgrades } | undefined;
  const live = await liveListener(t, {
    upgrades: async ({ store, registry, audit }) => {
      const releases = await Releases.open({ store, audit, clock: systemClock, log, keys: new Map() });
      const tell = (event: (typeof told)[number]) => void told.push(event);
      const upgrades = await HostUpgrades.open({ store, audit, registry, releases, clock: systemClock, log, tell });
      parts = { releases, upgrades };
      return upgradeDoor({ releases, upgrades, clock: systemClock, log });
    },
  });
  if (parts === undefined) throw new Error('the listener has no upgrades');
  const { releases, upgrades } = parts;
  t.after(() => upgrades.close());
  const add = async (options: TestReleaseOptions = {}): Promise<TestRelease> => {
    const release = testRelease(options);
    await releases.add([release.signed], ADMIN);
    await releases.receive(release.signed, Readable.from([release.compressed]), ADMIN, new AbortController().signal);
    return release;
  };
  const wish = (name: string) => upgrades.wish(name, { release: releases.chosen({}), by: ADMIN });
  const state = async (hostId: string) => (await upgrades.find(hostId))?.state;
  return { live, told, releases, upgrades, add, wish, state };
}

async function online(t: TestContext, identity: Identity, hello: Partial<Hello> = ABLE): Promise<Connection> {
  const connection = await connectAgent(identity, { hello });
  t.after(() => connection.session.destroy(new FairleadError('SHUTDOWN', 'the test is over')));
  return connection;
}

function say({ session }: Connection, status: AgentUpgradeStatus): void {
  session.sendControl(agentUpgradeStatus, status);
}

test('a release is offered, read, told of and done, and the server knows each step', async (t) => {
  const { live, told, add, wish, state, upgrades } = await started(t);
  const { signed, compressed } = await add({ bytes: 3_000_000 });
  const host = await live.enroll('h1');
  const { hostId } = host.record;
  assert.equal((await wish('h1')).state, 'wished');
  const agent = await online(t, host);
  assert.deepEqual(agent.welcome.upgrade, signed);
  assert.deepEqual(agent.welcome.capabilities, ['agent.upgrade.status', 'release.read']);
  assert.equal(await state(hostId), 'offered');
  const { sha256, sequence, version } = signed;
  // The read before may have ended here and not at the server yet: an agent asks again then, too.
  const read = (offset: number) =>
    waitFor('its turn', async () => {
      const stream = agent.session.open(releaseRead, { sha256, offset });
      const [outcome] = await Promise.allSettled([stream.reply]);
      const isEarly = outcome.status === 'rejected' && isFairleadError(outcome.reason, 'OVERLOADED');
      return !isEarly && stream;
    });
  const whole = await read(0);
  assert.deepEqual(await whole.reply, { totalBytes: compressed.length });
  assert.deepEqual(await buffer(whole.bytes), compressed);
  assert.deepEqual(await buffer((await read(2_500_000)).bytes), compressed.subarray(2_500_000));
  assert.equal((await buffer((await read(compressed.length)).bytes)).length, 0);
  await assert.rejects((await read(compressed.length + 1)).reply, { code: 'VALIDATION' });
  const another = agent.session.open(releaseRead, { sha256: 'ab'.repeat(32), offset: 0 });
  await assert.rejects(another.reply, { code: 'FORBIDDEN' });

  say(agent, { sequence, version, state: 'downloading', receivedBytes: 5, totalBytes: 9 });
  await waitFor('the progress', async () => (await upgrades.find(hostId))?.receivedBytes === 5);
  for (const next of ['verifying', 'trying', 'restarting'] as const) say(agent, { sequence, version, state: next });
  await waitFor('the restart', async () => (await state(hostId)) === 'restarting');
  await assert.rejects(upgrades.cancel('h1', ADMIN), { code: 'CONFLICT' });
  const next = await online(t, host, { ...ABLE, agentVersion: version });
  assert.equal(next.welcome.upgrade, undefined);
  assert.equal(await state(hostId), 'done');
  assert.deepEqual(
    told.map(({ type }) => type),
    ['upgrade.offered', 'upgrade.started', 'upgrade.done'],
  );
  assert.equal((await wish('h1')).state, 'current');
  // Both are written behind what is told.
  await waitFor('its row', async () => (await live.store.hostUpgrades.find(hostId))?.state === 'done');
  await waitFor('its rows in the audit log', async () => {
    const audited = (await live.store.audit.list({ limit: 9 })).items.map(({ action }) => action);
    return audited.includes('host.upgrade.done') && audited.includes('host.upgrade');
  });
});

test('an agent that is there is told at once, and what it refuses or fails at is not wished again', async (t) => {
  const { live, told, add, wish, state } = await started(t);
  const { signed } = await add();
  const { sequence, version } = signed;
  const host = await live.enroll('h1');
  const { hostId } = host.record;
  const offers: unknown[] = [];
  const controls = new Map([[agentUpgrade.code, (value: unknown) => void offers.push(value)]]);
  const agent = await connectWith(t, host, ABLE, controls);
  await waitFor('the host', () => live.registry.link(hostId) !== undefined);
  assert.equal((await wish('h1')).state, 'offered');
  await waitFor('the offer', () => offers.length === 1);
  assert.deepEqual(offers, [{ release: signed }]);
  assert.equal((await wish('h1')).state, 'offered');
  say(agent, { sequence: sequence + 1, version, state: 'done' });
  say(agent, { sequence, version, state: 'failed', code: 'TIMEOUT', detail: 'it did not connect' });
  await waitFor('the failure', async () => (await state(hostId)) === 'failed');
  say(agent, { sequence, version, state: 'failed', code: 'TIMEOUT', detail: 'it did not connect' });
  // It runs after all: the last word is the host's.
  say(agent, { sequence, version, state: 'done' });
  await waitFor('the late end', async () => (await state(hostId)) === 'done');
  say(agent, { sequence, version, state: 'downloading' });
  const refused = { able: true, sequence, refused: [sequence] };
  await connectWith(t, host, { ...ABLE, upgrade: refused }, controls);
  await assert.rejects(wish('h1'), { code: 'CONFLICT', message: /in vain/ });
  assert.deepEqual(
    told.map(({ type }) => type),
    ['upgrade.offered', 'upgrade.failed', 'upgrade.done'],
  );
  assert.equal(told[1]?.attributes['reason'], 'it did not connect');
  assert.equal(offers.length, 1);
});

test('agents that cannot, are too old, or are of another platform are not asked, and it is said why', async (t) => {
  const { live, releases, upgrades, add, wish, state } = await started(t);
  await add({ version: '0.2.0' });
  const [unable, old, other, newer] = await Promise.all(
    ['unable', 'old', 'other', 'newer'].map((name) => live.enroll(name)),
  );
  assert.ok(unable && old && other && newer);
  // Known only once it comes: nobody is told of the wish.
  assert.equal((await wish('unable')).state, 'wished');
  await online(t, unable, { ...ABLE, upgrade: { able: false, reason: 'it is no single executable', sequence: 0 } });
  assert.equal(await state(unable.record.hostId), 'refused');
  assert.equal((await upgrades.find(unable.record.hostId))?.detail, 'it is no single executable');
  await assert.rejects(wish('unable'), { code: 'CONFLICT', message: /no single executable/ });
  const without = await online(t, old, { agentVersion: '0.1.0' });
  await assert.rejects(wish('old'), { code: 'UNSUPPORTED', message: /too old/ });
  assert.equal(without.session.draining, false);
  await online(t, other, { ...ABLE, arch: 'arm64' });
  await assert.rejects(wish('other'), { code: 'NOT_FOUND', message: /linux\/arm64/ });
  await online(t, newer, { ...ABLE, agentVersion: '0.3.0' });
  await assert.rejects(wish('newer'), { code: 'CONFLICT', message: /not signed as a downgrade/ });
  await add({ version: '0.2.1', sequence: 2, downgrade: true });
  assert.equal((await upgrades.wish('newer', { release: releases.get(2), by: ADMIN })).state, 'offered');
  await assert.rejects(wish('nobody'), { code: 'HOST_NOT_FOUND' });
  await assert.rejects(releases.remove(2, ADMIN), { code: 'CONFLICT', message: /newer is to run it/ });
  await upgrades.cancel('newer', ADMIN);
  await assert.rejects(upgrades.cancel('newer', ADMIN), { code: 'NOT_FOUND' });
  await releases.remove(2, ADMIN);
});

test('a read ends with an error when the file goes, or is cut off', async (t) => {
  const { live, releases, add, wish } = await started(t);
  const { signed } = await add({ bytes: 8_000_000 });
  const host = await live.enroll('h1');
  await wish('h1');
  const { session } = await online(t, host);
  const read = () => session.open(releaseRead, { sha256: signed.sha256, offset: 0 });
  const cut = read();
  await cut.reply;
  await assert.rejects(read().reply, { code: 'OVERLOADED', message: /reads one already/ });
  await truncate(releases.compressedPath(signed), 1_000_000);
  await assert.rejects(buffer(cut.bytes), { code: 'INTERNAL', message: /has changed/ });
  await rm(releases.compressedPath(signed));
  await waitFor('the end of the first', async () => {
    const error = await read().reply.then(
      () => undefined,
      (failure: { code: string }) => failure,
    );
    return error?.code === 'NOT_FOUND';
  });
});

test('a session on trial is greeted and kept alive, serves nothing, and is not the link of its host', async (t) => {
  const { live, add, wish, upgrades } = await started(t);
  const { signed } = await add();
  const host = await live.enroll('h1');
  const { hostId } = host.record;
  const trial: Partial<Hello> = { ...ABLE, agentVersion: signed.version, trial: true };
  await assert.rejects(connectAgent(host, { hello: trial }), { code: 'CONFLICT', message: /no upgrade of this host/ });
  const agent = await online(t, host);
  const link = await waitFor('the host', () => live.registry.link(hostId));
  await assert.rejects(connectAgent(host, { hello: trial }), { code: 'CONFLICT' });
  const news: string[] = [];
  const note = (what: string) => (one: HostLink) => void news.push(`${what} ${one.describe().agentVersion}`);
  live.registry.subscribe({ online: note('online'), offline: note('offline'), replaced: note('replaced') });
  await wish('h1');
  const acks: unknown[] = [];
  const controls = new Map([[heartbeatAck.code, (value: unknown) => void acks.push(value)]]);
  const tried = await connectWith(t, host, trial, controls);
  assert.deepEqual(
    [tried.welcome.upgrade, tried.welcome.capabilities, tried.welcome.hostId],
    [undefined, undefined, hostId],
  );
  const beat = { seq: 1, time: 0, load: [0, 0, 0], streams: 0, docker: { reachable: true } };
  tried.session.sendControl(heartbeat, beat);
  await waitFor('the answer', () => acks.length === 1);
  say(tried, { sequence: signed.sequence, version: signed.version, state: 'done' });
  const leave = tried.session.open(hostLeave, { reason: 'no' });
  await assert.rejects(leave.reply, { code: 'UNSUPPORTED' });
  const read = tried.session.open(releaseRead, { sha256: signed.sha256, offset: 0 });
  await assert.rejects(read.reply, { code: 'UNSUPPORTED' });
  assert.equal(live.registry.link(hostId), link);
  assert.equal((await upgrades.find(hostId))?.state, 'offered');
  const second = await connectWith(t, host, trial);
  assert.equal((await tried.session.closed).code, 'REPLACED');
  assert.deepEqual(news, []);
  assert.equal(agent.session.draining, false);
  await live.hosts.revoke('h1', 'gone', ADMIN);
  assert.equal((await second.session.closed).code, 'CERT_REVOKED');
  await assert.rejects(link.call(hostInfo, {}), { code: 'HOST_OFFLINE' });
});

/** As `online`, hearing what the server says. */
async function connectWith(
  t: TestContext,
  identity: Identity,
  hello: Partial<Hello>,
  controls: ReadonlyMap<number, (value: unknown) => void> = new Map(),
): Promise<Connection> {
  const facts = { hostname: 'h', os: 'linux', arch: 'x64', docker: { reachable: false } };
  const full: Hello = {
    ...{ versions: [1], agentVersion: '0.1.0', instanceId: `i${Math.random()}`, capabilities: [], ...facts },
    ...{ policy: { allow: [], deny: [] }, ...hello },
  };
  const onStream = (stream: { finish(): void }) => stream.finish();
  const httpsAgent = new https.Agent({ keepAlive: false, maxCachedSessions: 0 });
  const connection = await connect({ identity, clock: systemClock, hello: full, onStream, controls, httpsAgent });
  t.after(() => connection.session.destroy(new FairleadError('SHUTDOWN', 'the test is over')));
  return connection;
}
