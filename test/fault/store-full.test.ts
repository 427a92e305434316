/** A full disk under the store: every action is refused in words, nothing is half-done, and space alone heals it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { sql } from 'kysely';
import { ApiTokens } from '../../server/access/api-tokens.ts';
import { Audit } from '../../server/audit/audit.ts';
import { openStore, type Store } from '../../server/store/store.ts';
import { type FairleadError, isFairleadError } from '../../shared/errors.ts';
import { ADMIN, AGENT_ADDRESS, aRequest, openEnrollment } from '../unit/server/enrollment/fixture.ts';
import { StillClock } from '../unit/server/store/fixture.ts';

const MIB = 1024 * 1024;

/** Writes until the store is full. @returns the error it then gave */
async function fill(store: Store): Promise<FairleadError> {
  // Large rows first, then ever smaller ones, until not even a byte goes in.
  let full: FairleadError | undefined;
  for (const bytes of [100_000, 4_000, 500, 1]) {
    for (let i = 0; i < 100_000; i++) {
      try {
        await store.settings.set(`fill ${bytes} ${i}`, Buffer.alloc(bytes));
      } catch (error) {
        if (!isFairleadError(error)) throw error;
        full = error;
        break;
      }
    }
  }
  assert.ok(full);
  return full;
}

test('a store that may not grow refuses enrollment whole, and takes it up again', async (t) => {
  const { store, enrollment, active, audit, dataDir, logged } = await openEnrollment(t);
  const requests = [];
  for (let i = 0; i < 40; i++) requests.push(await aRequest((await enrollment.createToken({}, ADMIN)).token));
  const { rows } = await sql<{ page_count: number }>`pragma page_count`.execute(store.db);
  await sql`pragma max_page_count = ${sql.raw(String(rows[0]?.page_count))}`.execute(store.db);

  const refused: FairleadError[] = [];
  for (const request of requests) {
    await enrollment.redeem(request, AGENT_ADDRESS).catch((error) => refused.push(error));
  }
  assert.ok(refused.length > 30);
  for (const error of refused) {
    assert.equal(error.code, 'STORE_FULL');
    assert.equal(error.message, `the disk under ${dataDir} is full: nothing was changed, free some space`);
  }
  const done = requests.length - refused.length;
  const counts = async () => {
    const tokens = (await enrollment.list({})).items.filter(({ state }) => state === 'used');
    const { items: hosts } = await store.hosts.list({});
    const { items: certificates } = await store.certificates.list({});
    const { items: entries } = await audit.list({}, { action: 'host.enroll', result: 'ok' });
    return [tokens.length, hosts.length, certificates.length, entries.length, active.size];
  };
  assert.deepEqual(await counts(), [done, done, done, done, done]);
  const { items: failures } = await audit.list({}, { action: 'host.enroll', result: 'failed' });
  assert.equal(failures.length + logged.length, refused.length);

  await sql`pragma max_page_count = 100000`.execute(store.db);
  for (const request of requests) await enrollment.redeem(request, AGENT_ADDRESS);
  const { items: certificates } = await store.certificates.list({});
  assert.equal(certificates.length, requests.length);
  assert.equal(active.size, requests.length);
});

test('after a full disk rolled a transaction back, nothing more of it is written', async (t) => {
  const { store } = await openEnrollment(t);
  await sql`pragma max_page_count = 40`.execute(store.db);
  const work = store.transaction(async ({ settings }) => {
    await settings.set('first', Buffer.alloc(1));
    // The work goes on after the error, as work that means well may: the first row must not be left behind by it.
    await assert.rejects(settings.set('large', Buffer.alloc(MIB)), { code: 'STORE_FULL' });
    await assert.rejects(settings.set('last', Buffer.alloc(1)), { code: 'STORE_UNAVAILABLE', message: /rolled back/ });
  });
  await assert.rejects(work, { code: 'STORE_UNAVAILABLE' });
  assert.equal(await store.settings.get('first'), undefined);
  assert.equal(await store.settings.get('last'), undefined);
  await store.settings.set('next', Buffer.alloc(1));
  assert.equal((await store.settings.get('next'))?.length, 1);
});

/** A file system of its own, as small as given; undefined where tests may not mount one. */
async function smallDisk(t: TestContext, bytes: number): Promise<string | undefined> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-disk-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', dir]);
  t.after(async () => {
    if (mounted.status === 0) spawnSync('umount', ['--lazy', dir]);
    await rm(dir, { recursive: true });
  });
  return mounted.status === 0 ? dir : undefined;
}

test('a disk that is really full', async (t) => {
  const disk = await smallDisk(t, 2 * MIB);
  if (disk === undefined) {
    t.diagnostic('not run: only root can mount a small disk');
    return;
  }
  const dataDir = join(disk, 'data');
  const clock = new StillClock();
  const ballast = join(disk, 'ballast');
  await writeFile(ballast, Buffer.alloc(MIB));
  const store = await openStore({ dataDir, clock });
  t.after(() => store.close());
  const error = await fill(store);
  assert.equal(error.code, 'STORE_FULL', error.message);
  await assert.rejects(store.check(), { code: 'STORE_FULL' });
  const log = { error: () => undefined, warn: () => undefined };
  const audit = new Audit({ store, clock, log });
  const caFingerprint = `sha256:${'00'.repeat(32)}`;
  const tokens = new ApiTokens({ store, audit, clock, log, caFingerprint });
  await assert.rejects(tokens.ensureAdminToken(), { code: 'STORE_FULL' });
  assert.equal(
    (await readdir(dataDir)).some((name) => name.includes('admin-token') || name.endsWith('.tmp')),
    false,
  );
  assert.equal(await store.apiTokens.isEmpty(), true);

  await rm(ballast);
  clock.pass(10_000);
  await store.check();
  assert.equal(await tokens.ensureAdminToken(), true);
  const token = (await readFile(tokens.adminTokenFile, 'utf8')).trim();
  assert.equal((await tokens.authenticate(token)).role, 'admin');
});

test('a disk that is full before the store is made', async (t) => {
  const disk = await smallDisk(t, MIB);
  if (disk === undefined) {
    t.diagnostic('not run: only root can mount a small disk');
    return;
  }
  await writeFile(join(disk, 'rest'), Buffer.alloc(2 * MIB)).catch(() => undefined);
  const options = { dataDir: join(disk, 'data'), clock: new StillClock() };
  await assert.rejects(openStore(options), { code: 'STORE_FULL' });
  await assert.rejects(openStore(options), { code: 'STORE_FULL' });
  await rm(join(disk, 'rest'));
  await (await openStore(options)).close();
});
