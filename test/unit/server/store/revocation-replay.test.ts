/** Each sort of revocation, told to a database of before it; and a start at which there is nothing to tell. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { PasswordHasher } from '../../../../server/access/password-hash.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { TokenCheck } from '../../../../server/hawser/token-check.ts';
import { JournalWatch } from '../../../../server/hosts/journal-watch.ts';
import { readJournal } from '../../../../server/store/revocation-journal.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import { aCertificate, aHost, HOST_IDS, openTestStore, START, type StillClock } from './fixture.ts';

const DAY_MS = 24 * 60 * 60_000;
const HOUR_MS = 60 * 60_000;
const NOT_AFTER = START + 30 * DAY_MS;
const [HOST, OTHER] = HOST_IDS;
const log = pino({ level: 'silent' });

/** Whatever can be revoked, as it is before. */
async function fill(store: Store): Promise<void> {
  await store.hosts.insert(aHost(HOST, 'a'));
  await store.certificates.insert({ ...aCertificate('A1', HOST), notAfter: NOT_AFTER });
  await store.hosts.insert(aHost(OTHER, 'b'));
  await store.certificates.insert({ ...aCertificate('B1', OTHER), notAfter: NOT_AFTER });
  const made = { createdBy: 'ann', createdAt: START };
  const token = { ...made, secretHash: Buffer.alloc(32), name: 'ci', role: 'admin' as const, scope: undefined };
  await store.apiTokens.insert({ ...token, id: 'api', expiresAt: undefined });
  await store.apiTokens.insert({ ...token, id: 'api-year', expiresAt: START + 365 * DAY_MS });
  const enrollment = { ...made, secretHash: Buffer.alloc(32), name: undefined, hostName: undefined, tags: [] };
  await store.enrollmentTokens.insert({ ...enrollment, id: 'enrollment', expiresAt: NOT_AFTER });
  const access = { ...made, name: 'ann', role: 'admin' as const, hosts: [], tags: [] };
  const certificate = {
    serial: 'CC',
    issuerKey: '',
    spkiPin: 'sha256:cc',
    operatorId: 'o',
    notBefore: START,
    notAfter: NOT_AFTER,
  };
  await store.operatorCertificates.insert({ ...access, ...certificate });
  await store.users.insert({ ...access, id: 'user', passwordHash: 'scrypt:x' });
  await store.webhooks.insert({ ...made, id: 'webhook', name: undefined, target: 'sealed', filter: '{}', position: 0 });
}

async function renew(store: Store): Promise<void> {
  await store.certificates.insert({ ...aCertificate('A2', HOST), notAfter: NOT_AFTER }, 'pending');
  assert.deepEqual(await store.certificates.activate('A2', START), ['A1']);
}

/** A start of the server, as far as revocations go. @returns the targets that it says it has revoked again */
async function start(store: Store, clock: StillClock): Promise<string[]> {
  const watch = await JournalWatch.open({ store, clock, log });
  const audit = new Audit({ store, clock, log });
  await watch.report(audit);
  const { items } = await audit.list({}, { action: 'revocation.replay' });
  return items.map(({ target }) => target ?? '').sort();
}

interface Older {
  /** The store with the database of before and the journal of after. */
  readonly store: Store;
  readonly clock: StillClock;
  readonly replayed: string[];
  /** Closes it and opens it again. */
  again(): Promise<Store>;
}

interface GoBackOptions {
  /** What the database of before has besides. */
  readonly before?: (store: Store) => Promise<void>;
  /** How long after `work` the start with it is. */
  readonly laterMs?: number;
}

/** Does `work` to a full store, and then puts the database of before in its place. */
async function goBack(
  t: TestContext,
  work: (store: Store, clock: StillClock) => Promise<unknown>,
  { before, laterMs = 0 }: GoBackOptions = {},
): Promise<Older> {
  const { store, clock, dataDir } = await openTestStore(t);
  await fill(store);
  await before?.(store);
  await store.close();
  const database = join(dataDir, 'fairlead.db');
  await copyFile(database, `${database}.old`);
  const newer = await openStore({ dataDir, clock });
  await work(newer, clock);
  await newer.close();
  for (const suffix of ['-wal', '-shm']) await rm(`${database}${suffix}`, { force: true });
  await copyFile(`${database}.old`, database);
  clock.pass(laterMs);
  let open = await openStore({ dataDir, clock });
  t.after(() => open.close());
  const again = async () => {
    await open.close();
    open = await openStore({ dataDir, clock });
    return open;
  };
  return { store: open, clock, replayed: await start(open, clock), again };
}

test('a certificate that was superseded is so again, and its host has none that counts', async (t) => {
  const { store, replayed } = await goBack(t, renew);
  assert.deepEqual(replayed, ['A1']);
  assert.equal((await store.certificates.find('A1'))?.state, 'superseded');
  assert.deepEqual(await store.certificates.active(HOST), []);
  assert.equal((await store.hosts.get('a')).revokedAt, undefined);
});

test('a certificate of an operator stays revoked', async (t) => {
  const { store, replayed } = await goBack(t, (newer) => newer.operatorCertificates.revoke('CC', START + 5));
  assert.deepEqual(replayed, ['CC']);
  assert.equal((await store.operatorCertificates.find('CC'))?.revokedAt, START + 5);
});

test('a user who was removed is so again; another one of that name stays', async (t) => {
  const { store, replayed, clock, again } = await goBack(t, (newer) => newer.users.remove('user', START));
  assert.deepEqual(replayed, ['user']);
  assert.equal(await store.users.findByName('ann'), undefined);
  const access = { name: 'ann', role: 'viewer' as const, hosts: [], tags: [], createdBy: 'bea', createdAt: START };
  await store.users.insert({ ...access, id: 'another', passwordHash: 'scrypt:y' });
  const next = await again();
  assert.deepEqual(await start(next, clock), ['user'], 'what was said before, and nothing new');
  assert.equal((await next.users.findByName('ann'))?.id, 'another');
});

test('a webhook that was removed gets nothing again', async (t) => {
  const { store, replayed } = await goBack(t, (newer) => newer.webhooks.delete('webhook', START));
  assert.deepEqual(replayed, ['webhook']);
  assert.deepEqual(await store.webhooks.all(), []);
});

test('a token that was replaced ends when it was to: neither at once nor never', async (t) => {
  const end = START + HOUR_MS;
  for (const id of ['api', 'api-year']) {
    const { store, replayed } = await goBack(t, (newer) => newer.apiTokens.replace(id, 'next', end));
    assert.deepEqual(replayed, [id]);
    const row = await store.apiTokens.find(id);
    assert.deepEqual([row?.expiresAt, row?.revokedAt], [end, undefined]);
  }
});

test('a token whose overlap is over is revoked', async (t) => {
  const end = START + HOUR_MS;
  const { store, replayed } = await goBack(t, (newer) => newer.apiTokens.replace('api', 'next', end), {
    laterMs: 2 * HOUR_MS,
  });
  assert.deepEqual(replayed, ['api']);
  assert.equal((await store.apiTokens.find('api'))?.revokedAt, end);
});

test('a token that was revoked within its overlap is revoked from then on, also long after the overlap', async (t) => {
  const revoke = async (store: Store, clock: StillClock) => {
    await store.apiTokens.replace('api', 'next', START + HOUR_MS);
    clock.pass(1);
    assert.ok(await store.apiTokens.revoke('api', clock.now()));
  };
  for (const later of [0, 100 * DAY_MS]) {
    const { store, replayed } = await goBack(t, revoke, { laterMs: later });
    assert.ok(replayed.includes('api'));
    assert.equal((await store.apiTokens.find('api'))?.revokedAt, START + 1);
  }
});

const HAWSER = 'n'.repeat(43);
/** Hashes that cost nothing. */
const hasher = new PasswordHasher(async (password, salt, _parameters, outputLength) =>
  createHash('shake256', { outputLength }).update(password).update(salt).digest(),
);

async function addHawserToken(store: Store, expiresAt?: number): Promise<void> {
  const made = { createdBy: 'ann', createdAt: START, expiresAt, hostId: undefined };
  const tokenHash = await hasher.hash(HAWSER);
  await store.hawserTokens.insert({ ...made, id: 'hawser', name: 'nas', prefix: HAWSER.slice(0, 8), tokenHash });
}

/** Shows the token of Hawser at the door. */
function show({ store, clock }: Pick<Older, 'store' | 'clock'>) {
  return new TokenCheck({ store, clock, log, hasher }).check(HAWSER, '192.0.2.7');
}

test('a token of Hawser that was revoked lets no agent in from the database of before, by itself or with its host', async (t) => {
  const untouched = await goBack(t, async () => undefined, { before: addHawserToken });
  assert.deepEqual(untouched.replayed, []);
  assert.equal((await show(untouched)).id, 'hawser');
  const ways: ((store: Store) => Promise<unknown>)[] = [
    (newer) => newer.hawserTokens.revoke('hawser', START + 5),
    async (newer) => {
      await newer.hawserTokens.bind('hawser', HOST);
      await newer.hawserTokens.revokeOf([HOST], START + 5);
    },
  ];
  for (const revoke of ways) {
    for (const expiresAt of [undefined, START + 365 * DAY_MS]) {
      const before = (store: Store) => addHawserToken(store, expiresAt);
      const older = await goBack(t, revoke, { before, laterMs: 100 * DAY_MS });
      assert.deepEqual(older.replayed, ['hawser']);
      assert.equal((await older.store.hawserTokens.find('hawser'))?.revokedAt, START + 5);
      await assert.rejects(show(older), { code: 'TOKEN_INVALID' });
      assert.deepEqual(await start(await older.again(), older.clock), ['hawser'], 'said once');
    }
  }
});

test('a token of Hawser that was rotated lets agents in until its overlap is over, and no longer', async (t) => {
  const rotate = (newer: Store) => newer.hawserTokens.replace('hawser', 'next', START + HOUR_MS);
  const within = await goBack(t, rotate, { before: addHawserToken });
  assert.deepEqual(within.replayed, ['hawser']);
  assert.equal((await show(within)).id, 'hawser');
  within.clock.pass(HOUR_MS);
  await assert.rejects(show(within), { code: 'TOKEN_INVALID' });
  const after = await goBack(t, rotate, { before: addHawserToken, laterMs: 2 * HOUR_MS });
  assert.deepEqual(after.replayed, ['hawser']);
  await assert.rejects(show(after), { code: 'TOKEN_INVALID' });
});

test('a journal that is lost is written anew with the tokens of Hawser that were revoked or rotated', async (t) => {
  for (const end of [
    (store: Store) => store.hawserTokens.revoke('hawser', START),
    (store: Store) => store.hawserTokens.replace('hawser', 'next', START + HOUR_MS),
  ]) {
    const { store, clock, dataDir } = await openTestStore(t);
    await addHawserToken(store);
    await end(store);
    await store.close();
    const path = join(dataDir, 'revoked.ndjson');
    const before = readJournal(path).revocations;
    assert.deepEqual(
      before.map(({ kind, id }) => [kind, id]),
      [['hawser-token', 'hawser']],
    );
    await rm(path);
    const again = await openStore({ dataDir, clock });
    t.after(() => again.close());
    await start(again, clock);
    assert.deepEqual(readJournal(path).revocations, before);
  }
});

/** One of each kind, as the product does it. */
async function revokeAll(store: Store): Promise<void> {
  await renew(store);
  await store.certificates.revokeOf(OTHER, START, 'lost');
  await store.hosts.markRevoked(OTHER, START, 'lost');
  await store.apiTokens.revoke('api', START);
  await store.apiTokens.replace('api-year', 'next', START + HOUR_MS);
  const use = { at: START, hostId: HOST, serial: 'A1', spkiPin: 'sha256:a1' };
  assert.ok(await store.enrollmentTokens.use('enrollment', use));
  await store.operatorCertificates.revoke('CC', START);
  await store.users.remove('user', START);
}

test('a start with the database that knows replays nothing, says nothing and adds nothing to the journal', async (t) => {
  const { store, clock, dataDir } = await openTestStore(t);
  await fill(store);
  await revokeAll(store);
  await store.close();
  const path = join(dataDir, 'revoked.ndjson');
  const kinds = readJournal(path).revocations.map(({ kind }) => kind);
  const all = ['api-token', 'api-token', 'certificate', 'enrollment-token-used', 'host', 'operator-certificate'];
  assert.deepEqual(kinds.sort(), [...all, 'superseded', 'user']);
  const text = await readFile(path, 'utf8');
  // Within the overlap of the token that was replaced, and after it.
  for (const later of [0, 2 * HOUR_MS]) {
    clock.pass(later);
    const again = await openStore({ dataDir, clock });
    assert.deepEqual(await start(again, clock), []);
    assert.equal((await again.enrollmentTokens.find('enrollment'))?.revokedAt, undefined);
    await again.close();
    assert.equal(await readFile(path, 'utf8'), text);
  }
});

test('a database that was told once is told nothing at the next start', async (t) => {
  const { clock, replayed, again } = await goBack(t, revokeAll);
  assert.deepEqual(replayed, ['A1', 'B1', 'CC', OTHER, 'api', 'api-year', 'enrollment', 'user'].sort());
  assert.deepEqual(await start(await again(), clock), replayed);
});

test('a journal that is lost is written anew with all that the database knows', async (t) => {
  const { store, clock, dataDir } = await openTestStore(t);
  await fill(store);
  await revokeAll(store);
  await store.close();
  const path = join(dataDir, 'revoked.ndjson');
  const before = readJournal(path).revocations.filter(({ kind }) => kind !== 'user');
  await rm(path);
  const again = await openStore({ dataDir, clock });
  t.after(() => again.close());
  await start(again, clock);
  const byId = (all: typeof before) => all.toSorted((a, b) => (a.kind + a.id < b.kind + b.id ? -1 : 1));
  assert.deepEqual(byId(readJournal(path).revocations), byId(before), 'users who were removed left nothing behind');
});

test('the journal keeps what matters: all kinds while they do, and those without an end for good', async (t) => {
  const { store, clock, dataDir } = await openTestStore(t);
  await fill(store);
  await revokeAll(store);
  await store.close();
  const kindsAfter = async (ms: number) => {
    clock.pass(ms);
    const again = await openStore({ dataDir, clock });
    const ids = again.journal.replayed.map(({ id }) => id).sort();
    await again.close();
    return ids;
  };
  assert.deepEqual(await kindsAfter(31 * DAY_MS), ['A1', 'B1', OTHER, 'api', 'api-year', 'user'].sort());
  assert.deepEqual(await kindsAfter(90 * DAY_MS), [OTHER, 'api', 'api-year', 'user'].sort());
  assert.deepEqual(await kindsAfter(365 * DAY_MS), ['api', 'api-year', 'user']);
});
