import assert from 'node:assert/strict';
import { chmod, copyFile, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { pino } from 'pino';
import { Audit } from '../../../../server/audit/audit.ts';
import { JournalWatch } from '../../../../server/hosts/journal-watch.ts';
import { lineOf, RevocationJournal, readJournal } from '../../../../server/store/revocation-journal.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import { tempDir } from '../../../support/tmp.ts';
import { aCertificate, aHost, HOST_IDS, openTestStore, START } from './fixture.ts';

const one = (id: string, until?: number) => ({ kind: 'certificate', id, at: 1, ...(until ? { until } : {}) });
const idsIn = (path: string) => readJournal(path).revocations.map(({ id }) => id);

async function journalIn(t: TestContext): Promise<string> {
  return join(await tempDir(t, 'journal'), 'revoked.ndjson');
}

/** Opens, does something, closes. */
async function using<T>(path: string, now: number, work: (journal: RevocationJournal) => Promise<T>): Promise<T> {
  const journal = await RevocationJournal.open(path, now);
  try {
    return await work(journal);
  } finally {
    await journal.close();
  }
}

test('what is appended is on the disk, once, for its owner alone', async (t) => {
  const path = await journalIn(t);
  await using(path, 1, async (journal) => {
    await Promise.all([journal.append([one('A')]), journal.append([one('B'), one('A')]), journal.append([one('C')])]);
    assert.deepEqual(idsIn(path), ['A', 'B', 'C']);
    await journal.append([one('B')]);
  });
  assert.deepEqual(idsIn(path), ['A', 'B', 'C']);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await chmod(path, 0o644);
  await using(path, 1, async (journal) =>
    assert.deepEqual(
      journal.replayed.map(({ id }) => id),
      ['A', 'B', 'C'],
    ),
  );
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('what is past is dropped at the next start, and a kind that is not known is kept', async (t) => {
  const path = await journalIn(t);
  await using(path, 1, (journal) => journal.append([one('old', 100), one('new', 300), { ...one('x'), kind: 'newer' }]));
  await using(path, 200, async (journal) => assert.equal(journal.replayed.length, 2));
  assert.deepEqual(idsIn(path), ['new', 'x']);
});

test('a last line that was cut off, at any byte, is dropped and reported; the rest counts', async (t) => {
  const path = await journalIn(t);
  await using(path, 1, (journal) => journal.append([one('A'), one('B')]));
  const whole = await readFile(path);
  const first = whole.indexOf('\n') + 1;
  for (let length = first + 1; length < whole.length; length++) {
    await writeFile(path, whole);
    await truncate(path, length);
    await using(path, 1, async (journal) => {
      assert.equal(journal.wasTorn, true, `${length}`);
      await journal.append([one('C')]);
    });
    assert.deepEqual(idsIn(path), ['A', 'C']);
  }
  await writeFile(path, Buffer.concat([whole, Buffer.alloc(512)]));
  await using(path, 1, async (journal) => assert.equal(journal.replayed.length, 2, 'zeros of a block never written'));
});

test('damage in the middle is refused with what to do, and the file is left as it is', async (t) => {
  const path = await journalIn(t);
  await using(path, 1, (journal) => journal.append([one('A'), one('B'), one('C')]));
  const whole = await readFile(path, 'utf8');
  for (const damaged of [whole.replace('"B"', '"X"'), whole.replace('{', ''), whole.replace('\n', '\n\n')]) {
    await writeFile(path, damaged);
    const message = /line \d of .*revoked\.ndjson is damaged.*delete that line/;
    await assert.rejects(RevocationJournal.open(path, 1), { code: 'STORE_UNAVAILABLE', message });
    assert.equal(await readFile(path, 'utf8'), damaged);
  }
});

test('a reason may hold any character, and keeps no server from its next start', async (t) => {
  const path = await journalIn(t);
  const reason = 'a\nb\r\u2028c\u2029d\u0085"},"crc":"00000000"}\u0000\ud800';
  await using(path, 1, (journal) => journal.append([{ ...one('A'), reason }, one('B')]));
  const text = await readFile(path, 'utf8');
  assert.equal(text.split(/[\r\n\u2028\u2029\u0085]/).length, 3, 'one line each, whatever ends a line');
  await using(path, 1, async (journal) => {
    assert.deepEqual(
      journal.replayed.map(({ id }) => id),
      ['A', 'B'],
    );
    assert.equal(journal.replayed[0]?.reason, reason);
  });
  // As a version wrote it that left them as they are.
  await writeFile(path, lineOf({ ...one('A'), reason: 'x' }) + separated());
  await using(path, 1, async (journal) => assert.equal(journal.replayed[1]?.reason, 'a\u2028b'));
});

/** A line whose reason holds a line separator in the clear. */
function separated(): string {
  const body = JSON.stringify({ ...one('S'), reason: 'a\u2028b' }).slice(0, -1);
  return `${body},"crc":"${crc32(body).toString(16).padStart(8, '0')}"}\n`;
}

test('what ends sooner than the journal said is noted once more', async (t) => {
  const path = await journalIn(t);
  const token = (at: number) => ({ kind: 'api-token', id: 'T', at });
  await using(path, 1, async (journal) => {
    await journal.append([token(1000)]);
    await journal.append([token(500)]);
    await journal.append([token(700)]);
  });
  await using(path, 1, async (journal) =>
    assert.deepEqual(
      journal.replayed.map(({ at }) => at),
      [500],
    ),
  );
});

async function filled(store: Store): Promise<void> {
  const [first, second, third] = HOST_IDS;
  for (const [id, name] of [
    [first, 'a'],
    [second, 'b'],
    [third, 'c'],
  ] as const)
    await store.hosts.insert(aHost(id, name));
  for (const [serial, id] of [
    ['A1', first],
    ['B2', second],
    ['C3', third],
  ] as const) {
    await store.certificates.insert(aCertificate(serial, id));
  }
  const secretHash = Buffer.alloc(32);
  const common = { secretHash, createdBy: 'ann', createdAt: START };
  await store.apiTokens.insert({
    ...common,
    id: 'api',
    name: 'ci',
    role: 'admin',
    expiresAt: undefined,
    scope: undefined,
  });
  for (const id of ['spent', 'revoked', 'open']) {
    const token = { ...common, id, name: undefined, hostName: undefined, tags: [], expiresAt: START + 1000 };
    await store.enrollmentTokens.insert(token);
  }
}

test('an older database brings nothing back, and the audit log says what it tried to', async (t) => {
  const { store, clock, dataDir } = await openTestStore(t);
  await filled(store);
  await store.close();
  const [database, old] = [join(dataDir, 'fairlead.db'), join(dataDir, '../old.db')];
  await copyFile(database, old);

  const [first, second] = HOST_IDS;
  const later = await openStore({ dataDir, clock });
  await later.transaction(async ({ hosts, certificates }) => {
    await certificates.revokeOf(first, START, 'stolen');
    await hosts.markRevoked(first, START, 'stolen');
    await hosts.markRevoked(second, START, 'removed');
    await hosts.delete(second);
  });
  await later.apiTokens.revoke('api', START);
  await later.enrollmentTokens.revoke('revoked', START);
  const use = { at: START, hostId: first, serial: 'A1', spkiPin: 'sha256:a1' };
  assert.ok(await later.enrollmentTokens.use('spent', use));
  await later.close();

  await copyFile(old, database);
  const restored = await openStore({ dataDir, clock });
  t.after(() => restored.close());
  assert.equal((await restored.certificates.find('A1'))?.state, 'active', 'as it was when it was copied');
  const log = pino({ level: 'silent' });
  const watch = await JournalWatch.open({ store: restored, clock, log });
  const audit = new Audit({ store: restored, clock, log });
  await watch.report(audit);
  assert.deepEqual(
    (await restored.certificates.active()).map(({ serial }) => serial),
    ['C3'],
    'the rest is as it was',
  );
  assert.equal((await restored.hosts.get('a')).revokeReason, 'stolen');
  assert.equal((await restored.hosts.get('b')).revokeReason, 'removed');
  assert.equal((await restored.hosts.get('c')).revokedAt, undefined);
  assert.equal((await restored.apiTokens.find('api'))?.revokedAt, START);
  for (const id of ['spent', 'revoked']) assert.equal((await restored.enrollmentTokens.find(id))?.revokedAt, START);
  assert.equal((await restored.enrollmentTokens.find('open'))?.revokedAt, undefined);
  const rows = (await audit.list({})).items.filter(({ action }) => action === 'revocation.replay');
  const targets = rows.map(({ target }) => target).sort();
  assert.deepEqual(targets, [first, second, 'A1', 'api', 'revoked', 'spent'].sort());
});

test('a token that was rotated ends in an older database when it was to end, or when it was revoked after all', async (t) => {
  const { store, clock, dataDir } = await openTestStore(t);
  await filled(store);
  const [api] = (await store.apiTokens.list({})).items;
  assert.ok(api);
  await store.apiTokens.insert({ ...api, id: 'other' });
  await store.close();
  const [database, old] = [join(dataDir, 'fairlead.db'), join(dataDir, '../old.db')];
  await copyFile(database, old);

  const later = await openStore({ dataDir, clock });
  for (const id of ['api', 'other']) await later.apiTokens.replace(id, `${id}-2`, START + 60_000);
  assert.ok(await later.apiTokens.revoke('other', START));
  await later.close();

  await copyFile(old, database);
  const restored = await openStore({ dataDir, clock });
  t.after(() => restored.close());
  await JournalWatch.open({ store: restored, clock, log: pino({ level: 'silent' }) });
  assert.equal((await restored.apiTokens.find('api'))?.expiresAt, START + 60_000);
  assert.equal((await restored.apiTokens.find('api'))?.revokedAt, undefined, 'it may go on until then');
  assert.equal((await restored.apiTokens.find('other'))?.revokedAt, START);
});

test('a store that is not older is left as it is: a used token stays used', async (t) => {
  const { store, clock, dataDir } = await openTestStore(t);
  await filled(store);
  assert.ok(await store.enrollmentTokens.use('spent', { at: START, hostId: 'h', serial: 'A1', spkiPin: 'p' }));
  await store.certificates.revoke('B2', START, 'lost');
  await store.close();
  const again = await openStore({ dataDir, clock });
  t.after(() => again.close());
  await JournalWatch.open({ store: again, clock, log: pino({ level: 'silent' }) });
  assert.equal((await again.enrollmentTokens.find('spent'))?.revokedAt, undefined);
});

test('without its journal the store writes it anew from what it knows', async (t) => {
  const { store, clock, dataDir } = await openTestStore(t);
  await filled(store);
  await store.certificates.revoke('B2', START, 'lost');
  await store.certificates.supersede('C3', 'superseded by D4');
  const [api] = (await store.apiTokens.list({})).items;
  assert.ok(api);
  await store.apiTokens.insert({ ...api, id: 'rotated' });
  await store.apiTokens.replace('rotated', 'next', START + 60_000);
  await store.apiTokens.revoke('api', START);
  await store.close();
  const path = join(dataDir, 'revoked.ndjson');
  await rm(path);
  const again = await openStore({ dataDir, clock });
  t.after(() => again.close());
  await JournalWatch.open({ store: again, clock, log: pino({ level: 'silent' }) });
  assert.deepEqual(idsIn(path).sort(), ['B2', 'C3', 'api', 'rotated']);
});

test('a journal that cannot be written does not keep anything from being revoked, and says so', async (t) => {
  const { store, clock } = await openTestStore(t);
  await filled(store);
  const logged: string[] = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void logged.push(line) });
  const watch = await JournalWatch.open({ store, clock, log });
  const audit = new Audit({ store, clock, log });
  await watch.report(audit);
  // As on a disk that is gone.
  await store.journal.close();
  await store.certificates.revoke('A1', START, 'stolen');
  assert.equal((await store.certificates.find('A1'))?.state, 'revoked');
  assert.match(logged.join(), /revoked\.ndjson cannot be written.*|certificate A1/);
  const [row] = (await audit.list({}, { action: 'revocation.journal' })).items;
  assert.equal(row?.result, 'failed');
});
