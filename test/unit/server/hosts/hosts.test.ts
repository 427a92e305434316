import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { Audit } from '../../../../server/audit/audit.ts';
import type { HostFilter } from '../../../../server/hosts/host-filter.ts';
import { Hosts } from '../../../../server/hosts/hosts.ts';
import { Presence } from '../../../../server/hosts/presence.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { openStore } from '../../../../server/store/store.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { fakeLink } from './fake-link.ts';

const ADMIN = { name: 'tester', address: '192.0.2.1' };
const log = pino({ level: 'silent' });

async function setUp(t: TestContext) {
  const dataDir = await mkdtemp(join(tmpdir(), 'fairlead-hosts-'));
  const store = await openStore({ dataDir, clock: systemClock });
  t.after(async () => {
    await store.close();
    await rm(dataDir, { recursive: true });
  });
  const registry = new HostRegistry();
  const calls: string[] = [];
  const audit = new Audit({ store, clock: systemClock, log });
  const hosts = new Hosts({
    store,
    registry,
    audit,
    clock: systemClock,
    forget: (serials) => calls.push(`forget ${serials.join(' ')}`),
    disconnect: ({ hostId, serial }, code) => {
      calls.push(`disconnect ${serial ?? 'all'} ${code}`);
      registry.link(hostId)?.close(code, 'test');
    },
  });
  return {
    store,
    registry,
    calls,
    audit,
    hosts,
    enroll: (name: string, serial: string) => enroll(store, name, serial),
  };
}

async function enroll(store: Awaited<ReturnType<typeof openStore>>, name: string, serial: string): Promise<string> {
  const id = randomUUID();
  const facts = { hostname: name, os: 'linux', arch: 'x64', agentVersion: '0.1.0' };
  await store.hosts.insert({ id, name, tags: ['lab'], createdAt: 1, ...facts });
  const validity = { notBefore: 1, notAfter: 2_000_000_000_000, issuedAt: 1 };
  await store.certificates.insert({ serial, hostId: id, spkiPin: `pin-${serial}`, pem: 'PEM', ...validity });
  return id;
}

test('a host is pending, then online with what its link knows, then offline with what was saved of it', async (t) => {
  const { store, registry, hosts, enroll: add } = await setUp(t);
  const presence = new Presence({ store, registry, clock: systemClock, log });
  const id = await add('alpha', 'A1');
  assert.equal((await hosts.get('alpha')).state, 'pending');
  await assert.rejects(hosts.link('alpha'), (error) => isFairleadError(error, 'HOST_OFFLINE'));

  const link = fakeLink(id);
  registry.attach(link);
  assert.equal(await hosts.link('ALPHA'), link);
  const online = await hosts.get(id);
  assert.equal(online.state, 'online');
  assert.equal(online.agentVersion, '9.9.9');
  assert.deepEqual(online.docker, { reachable: true, version: '1.2.3' });
  assert.equal(online.certificate?.serial, 'A1');

  link.drop('TIMEOUT');
  await setImmediate();
  await presence.close();
  const offline = await hosts.get('alpha');
  assert.equal(offline.state, 'offline');
  assert.equal(offline.lastSeenAt, 2000);
  assert.equal(offline.agentVersion, '9.9.9');
  assert.equal(offline.docker.reachable, false);
});

test('a revoked host loses its certificates in the store, in memory and on the wire, and an audit row says who did it', async (t) => {
  const { store, registry, calls, audit, hosts, enroll: add } = await setUp(t);
  const id = await add('alpha', 'A1');
  const link = fakeLink(id);
  registry.attach(link);
  const revoked = await hosts.revoke('alpha', 'stolen', ADMIN);
  assert.equal(revoked.state, 'revoked');
  assert.deepEqual(calls, ['forget A1', 'disconnect all CERT_REVOKED']);
  assert.equal(link.closedWith?.code, 'CERT_REVOKED');
  assert.equal((await store.certificates.find('A1'))?.state, 'revoked');
  assert.match((await hosts.refusal('A1')).message, /stolen/);
  assert.equal((await hosts.refusal('A1')).code, 'CERT_REVOKED');
  await assert.rejects(hosts.link('alpha'), (error) => isFairleadError(error, 'HOST_OFFLINE'));
  const [row] = (await audit.list({})).items;
  assert.equal(row?.action, 'host.revoke');
  assert.equal(row?.actor, 'tester');
  assert.equal(row?.target, id);
  assert.deepEqual(
    (await hosts.revocations({})).items.map((item) => item.serial),
    ['A1'],
  );
});

test('revoking the last certificate of a host revokes the host; serials are found in any form', async (t) => {
  const { calls, hosts, enroll: add } = await setUp(t);
  await add('alpha', 'A1');
  const view = await hosts.revokeSerial('00:a1', 'test', ADMIN);
  assert.equal(view.state, 'revoked');
  assert.equal(view.hostName, 'alpha');
  assert.equal((await hosts.get('alpha')).state, 'revoked');
  assert.deepEqual(calls, ['forget A1', 'disconnect A1 CERT_REVOKED']);
  await assert.rejects(hosts.revokeSerial('BEEF', 'test', ADMIN), (error) => isFairleadError(error, 'NOT_FOUND'));
});

test('a host that loses its last certificate loses what it was issued and has not used, in bulk, too', async (t) => {
  const { store, calls, hosts, enroll: add } = await setUp(t);
  for (const [name, serial, next] of [
    ['alpha', 'A1', 'A2'],
    ['beta', 'B1', 'B2'],
  ] as const) {
    const hostId = await add(name, serial);
    const validity = { notBefore: 1, notAfter: 2_000_000_000_000, issuedAt: 2 };
    await store.certificates.insert({ serial: next, hostId, spkiPin: next, pem: 'PEM', ...validity }, 'pending');
  }
  const view = await hosts.revokeSerial('A1', 'test', ADMIN);
  assert.equal(view.serial, 'A1');
  const { certificates } = await hosts.revokeMany({ serials: ['B1'], reason: 'test' }, ADMIN);
  assert.deepEqual(
    certificates.map(({ serial }) => serial),
    ['B1', 'B2'],
  );
  assert.deepEqual(await store.certificates.active(), []);
  assert.deepEqual(
    calls.filter((call) => call.startsWith('forget')),
    ['forget A1 A2', 'forget B1 B2'],
  );
});

test('a removed host is gone from the list, and its certificate is still refused as revoked', async (t) => {
  const { hosts, enroll: add } = await setUp(t);
  await add('alpha', 'A1');
  await hosts.remove('alpha', ADMIN);
  assert.deepEqual((await hosts.list({})).items, []);
  await assert.rejects(hosts.get('alpha'), (error) => isFairleadError(error, 'HOST_NOT_FOUND'));
  assert.equal((await hosts.refusal('A1')).code, 'CERT_REVOKED');
  assert.equal((await hosts.refusal('B2')).code, 'CERT_UNKNOWN');
});

test('a change and its audit row stand or fall together', async (t) => {
  const { audit, hosts, enroll: add } = await setUp(t);
  await add('alpha', 'A1');
  await add('beta', 'B2');
  await hosts.update('alpha', { name: 'gamma', tags: ['x'] }, ADMIN);
  assert.equal((await hosts.get('gamma')).tags[0], 'x');
  await assert.rejects(hosts.update('gamma', { name: 'Beta' }, ADMIN), (error) => isFairleadError(error, 'CONFLICT'));
  assert.equal((await audit.list({}, { action: 'host.update' })).items.length, 1);
});

test('a host that leaves is revoked without losing the session that carries its answer', async (t) => {
  const { calls, audit, hosts, enroll: add } = await setUp(t);
  const id = await add('alpha', 'A1');
  await hosts.leave(id, 'moved', '192.0.2.7');
  assert.deepEqual(calls, ['forget A1']);
  const [row] = (await audit.list({}, { action: 'host.leave' })).items;
  assert.equal(row?.actor, 'host:alpha');
  assert.equal(row?.address, '192.0.2.7');
});

test('what a link has measured comes with its host alone, and while it is online', async (t) => {
  const { registry, hosts, enroll: add } = await setUp(t);
  const id = await add('alpha', 'A1');
  assert.equal((await hosts.get('alpha')).traffic, undefined);
  const toAgent = {
    ...{ roundTripMs: 3, inFlightBytes: 0, creditStarvedMs: 0, socketBlockedMs: 0 },
    queuedBytes: { control: 0, interactive: 0, bulk: 0 },
  };
  const none = { rawBytes: 0, wireBytes: 0 };
  const traffic = {
    ...{ bytesIn: 1, bytesOut: 2, openStreams: 3, memoryBytes: 4, compressedIn: none, compressedOut: none },
    ...{ toAgent, fromAgent: undefined },
  };
  registry.attach(fakeLink(id, 'instance', {}, traffic));
  assert.equal((await hosts.get('alpha')).traffic, traffic);
  const { items } = await hosts.list({ limit: 10 });
  assert.ok(items.every((host) => !('traffic' in host)));
  await hosts.revoke('alpha', 'sold', ADMIN);
  assert.equal((await hosts.get('alpha')).traffic, undefined);
});

test('a host out of scope is found as little as none, and whoever listens hears of tags, names and removals', async (t) => {
  const { hosts, enroll: add } = await setUp(t);
  const id = await add('alpha', 'A1');
  const other = await add('beta', 'B2');
  const heard: unknown[] = [];
  const stop = hosts.onScopeChange((...args) => heard.push(args));
  const [byTag, byId] = [
    { hosts: [], tags: ['lab'] },
    { hosts: [id], tags: [] },
  ];
  assert.equal(await hosts.idInScope('ALPHA', byTag), id);
  assert.equal(await hosts.idInScope(id, byId), id);
  const refusal = async (ref: string) => await hosts.idInScope(ref, byId).catch((error) => [error.code, error.message]);
  assert.deepEqual(await refusal('beta'), ['HOST_NOT_FOUND', 'there is no host "beta"']);
  assert.deepEqual(await refusal('nobody'), ['HOST_NOT_FOUND', 'there is no host "nobody"']);
  const listed = async () => (await hosts.list({}, byTag)).items.map(({ name }) => name);
  assert.deepEqual(await listed(), ['alpha', 'beta']);
  await hosts.update('beta', { tags: ['shop'] }, ADMIN);
  await hosts.update('beta', { name: 'gamma' }, ADMIN);
  await hosts.remove('gamma', ADMIN);
  assert.deepEqual(heard, [
    [other, ['shop']],
    [other, ['shop']],
    [other, undefined],
  ]);
  assert.deepEqual(await listed(), ['alpha']);
  assert.deepEqual(
    (await hosts.certificates({}, byId)).items.map(({ serial }) => serial),
    ['A1'],
  );
  stop();
  await hosts.remove('alpha', ADMIN);
  assert.equal(heard.length, 3);
});

test('of a host whose last active certificate is revoked in bulk, what was issued and not used yet goes as well', async (t) => {
  const { store, hosts, calls, enroll: add } = await setUp(t);
  const id = await add('alpha', 'A1');
  const validity = { notBefore: 1, notAfter: 2_000_000_000_000, issuedAt: 2 };
  await store.certificates.insert({ serial: 'A2', hostId: id, spkiPin: 'pin-A2', pem: 'PEM', ...validity }, 'pending');
  const { certificates } = await hosts.revokeMany({ serials: ['A1'], reason: 'stolen' }, ADMIN);
  assert.deepEqual(certificates.map(({ serial }) => serial).sort(), ['A1', 'A2']);
  assert.equal((await store.certificates.find('A2'))?.state, 'revoked');
  assert.deepEqual(await store.certificates.pending(), []);
  assert.equal((await hosts.get('alpha')).state, 'revoked');
  assert.match(calls[0] ?? '', /^forget (A1 A2|A2 A1)$/);
  assert.deepEqual(calls.slice(1).sort(), ['disconnect A1 CERT_REVOKED', 'disconnect A2 CERT_REVOKED']);
});

test('whoever waits for a host gets its link when it comes back, and is told at once when it will not', async (t) => {
  const { hosts, registry, enroll } = await setUp(t);
  const [one, two, three] = [await enroll('one', 'AA'), await enroll('two', 'BB'), await enroll('three', 'CC')];
  const never = new AbortController();
  const waits = [one, two, 'three'].map((ref) => hosts.linkOnReturn(ref, never.signal));
  for (const wait of waits) wait.catch(() => undefined);
  await setImmediate();
  const link = fakeLink(one);
  registry.attach(link);
  assert.equal(await waits[0], link);
  assert.equal(await hosts.linkOnReturn('one', never.signal), link);
  await hosts.revoke(two, 'stolen', ADMIN);
  await assert.rejects(waits[1] ?? assert.fail(), (error) => isFairleadError(error, 'HOST_OFFLINE'));
  await hosts.remove(three, ADMIN);
  await assert.rejects(waits[2] ?? assert.fail(), (error) => isFairleadError(error, 'HOST_NOT_FOUND'));
  const last = hosts.linkOnReturn(await enroll('four', 'DD'), never.signal);
  never.abort(new Error('nobody waits any more'));
  await assert.rejects(last, /nobody waits/);
});

test('a list of hosts is narrowed down by tag, state, name and system, page by page', async (t) => {
  const { hosts, registry, enroll, store } = await setUp(t);
  const ids = new Map<string, string>();
  for (const name of ['a1', 'a2', 'b1', 'b2', 'b3']) ids.set(name, await enroll(name, `AA${name.toUpperCase()}`));
  const idOf = (name: string) => ids.get(name) ?? assert.fail(name);
  for (const name of ['a2', 'b2', 'b3']) registry.attach(fakeLink(idOf(name)));
  await hosts.update('b2', { addTags: ['web', 'web'], removeTags: ['none'] }, ADMIN);
  const names = async (filter: HostFilter, limit = 100) => {
    const found: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await hosts.list({ limit, cursor }, undefined, filter);
      assert.ok(page.items.length <= limit);
      found.push(...page.items.map(({ name }) => name));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return found.join(' ');
  };
  for (const limit of [1, 2, 100]) {
    assert.equal(await names({ states: ['online'] }, limit), 'a2 b2 b3');
    assert.equal(await names({ states: ['online', 'pending'], name: 'B?' }, limit), 'b1 b2 b3');
    assert.equal(await names({ tags: ['lab', 'web'] }, limit), 'b2');
    assert.equal(await names({ os: 'Linux', name: '*1' }, limit), 'a1 b1');
    assert.equal(await names({ os: 'windows' }, limit), '');
  }
  assert.equal((await hosts.list({}, { hosts: [idOf('a2')], tags: [] }, { states: ['online'] })).items.length, 1);
  await hosts.update('b2', { removeTags: ['web', 'lab'] }, ADMIN);
  assert.deepEqual((await store.hosts.get('b2')).tags, []);
  const many = Array.from({ length: 33 }, (_, i) => `t${i}`);
  await assert.rejects(hosts.update('b2', { addTags: many }, ADMIN), (error) => isFairleadError(error, 'VALIDATION'));
});
