/** The log stays verifiable while the CA that signs it is replaced: real rotations, a real store, real signatures. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { sql } from 'kysely';
import { pino } from 'pino';
import { attestersFrom, attestersIn } from '../../../../certs/attestation.ts';
import { type Ca, createOfflineRoot, openCa } from '../../../../certs/authority.ts';
import { readCaRequest } from '../../../../certs/intermediate.ts';
import { readCertificate } from '../../../../certs/pem.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { AuditTrail } from '../../../../server/audit/audit-trail.ts';
import { Authority } from '../../../../server/authority/authority.ts';
import { OfflineRoot } from '../../../../server/authority/offline-root.ts';
import { Rotation, type RotationAction } from '../../../../server/authority/rotation.ts';
import { checkExport } from '../../../../server/cli/audit-check.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import { isFault } from '../../../../shared/audit-chain.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { tempDir } from '../../../support/tmp.ts';
import { NOTHING } from './trail.ts';

const ANN = { name: 'ann' };
const DAY_MS = 86_400_000;
const policy = { ...NOTHING, keepMs: 10 * DAY_MS };

interface Opened {
  readonly store: Store;
  readonly authority: Authority;
  readonly trail: AuditTrail;
  readonly offline: OfflineRoot;
  readonly clock: FakeClock;
  readonly logged: string[];
  /** From then on changes of the CA pass by unsigned, as if the process ended with each. */
  stopSigning(): void;
  take(action: RotationAction): Promise<void>;
  /** Adds a row. */
  add(): Promise<void>;
  /** As a server that is killed. */
  kill(): Promise<Opened>;
}

async function open(t: TestContext, dataDir: string, clock: FakeClock): Promise<Opened> {
  const store = await openStore({ dataDir, clock });
  const logged: string[] = [];
  const log = pino({}, { write: (line: string) => void logged.push(line) });
  const audit = new Audit({ store, clock, log });
  const authority = await Authority.open({
    settings: store.settings,
    commit: (key, value, { actor, action }) =>
      store.transaction(async (tables) => {
        await tables.settings.set(key, value);
        await audit.record({ actor, action, result: 'ok' }, tables);
      }),
    certificates: store.certificates,
    ...{ dataDir, publicHosts: ['localhost'], clock, log, caKeyBits: 2048 },
  });
  const trail = await AuditTrail.open({ store, audit, authority, policy, clock, log, random: () => 0 });
  const stopSigning = authority.onChange(() => trail.sign());
  const operatorCertificates = { goodExceptOf: async () => [] };
  const hosts = { list: async () => [] };
  const rotation = new Rotation({ authority, hosts, operatorCertificates, clock, log, caKeyBits: 2048 });
  const opened: Opened = {
    ...{ store, authority, trail, clock, logged, stopSigning },
    offline: new OfflineRoot({ authority, rotation, clock, caKeyBits: 2048 }),
    take: (action) => rotation.take(action, { force: false }, ANN),
    add: () => audit.record({ actor: 'a', action: 'x', result: 'ok' }),
    async kill() {
      stopSigning();
      authority.close();
      await store.close();
      return await open(t, dataDir, clock);
    },
  };
  t.after(async () => {
    authority.close();
    await store.close();
  });
  return opened;
}

/** A log whose first rows were dropped by age, as the CA has signed. */
async function dropped(t: TestContext): Promise<Opened> {
  const opened = await open(t, `${await tempDir(t, 'rotated')}/data`, new FakeClock());
  await opened.add();
  await older(opened);
  return opened;
}

/** Days pass, a row comes, and what is too old goes. */
async function older({ clock, add, trail, store }: Opened): Promise<void> {
  await add();
  clock.setWallClock(clock.now() + 11 * DAY_MS);
  await add();
  await add();
  const before = (await store.auditCheckpoints.last('anchor'))?.id ?? 0;
  await trail.dropOld();
  assert.ok(((await store.auditCheckpoints.last('anchor'))?.id ?? 0) > before, 'nothing was dropped');
}

async function* bytes(chunks: AsyncIterable<string>) {
  for await (const chunk of chunks) yield Buffer.from(chunk);
}

/** The log as it was stored, without a signature that is only made now. */
async function signers({ store }: Opened): Promise<string[]> {
  const found = [await store.auditCheckpoints.last('head'), await store.auditCheckpoints.last('anchor')];
  return found.map((checkpoint) => checkpoint?.signer ?? 'none');
}

/** The server's own check, that of whoever knows a root by `pin`, and that of whoever has kept the bundle. */
async function isWhole({ trail, authority, clock }: Opened, pin: string): Promise<void> {
  const own = await trail.verify();
  assert.ok(!isFault(own), JSON.stringify(own));
  assert.ok(own.anchor !== undefined);
  const { pem } = authority.trust();
  for (const keys of [attestersFrom(pem, pin, clock.now()), attestersIn(pem)]) {
    const { head } = await checkExport(bytes(trail.export()), { keys, expectHead: undefined });
    assert.deepEqual(head, own.head);
  }
  assert.equal(trail.isIntact, true);
}

async function offlineRoot(clock: FakeClock): Promise<Ca> {
  return openCa(await createOfflineRoot({ clock, bits: 2048 }));
}

async function signed(root: Ca, csr: string, clock: FakeClock, days = 730): Promise<string> {
  const { certPem } = await root.issueIntermediate({ ...(await readCaRequest(csr)), days, clock });
  return root.certPem + certPem;
}

test('head and anchor are signed by the key of now in every phase, before the old one counts no more', async (t) => {
  const opened = await dropped(t);
  const { authority, take } = opened;
  const old = authority.caFingerprint;
  await take('publish');
  assert.deepEqual(await signers(opened), [old, old]);
  await take('activate');
  const next = authority.caFingerprint;
  assert.deepEqual(await signers(opened), [next, next]);
  // A token of before the rotation leads to the new root.
  await isWhole(opened, old);
  await take('abort');
  assert.deepEqual(await signers(opened), [old, old]);
  await isWhole(opened, next);
  await take('abort');
  await isWhole(opened, old);
  await take('publish');
  await take('activate');
  await older(opened);
  await take('retire');
  const last = authority.caFingerprint;
  assert.deepEqual(await signers(opened), [last, last]);
  await isWhole(opened, last);
  const keys = attestersFrom(authority.trust().pem, old, opened.clock.now());
  assert.equal(keys.size, 0, 'a root that was retired still counts');
  await older(opened);
  await isWhole(opened, last);
  const { rows } = await sql<{ n: number }>`select count(*) as n from audit_checkpoints where kind = 'anchor'`.execute(
    opened.store.db,
  );
  assert.equal(rows[0]?.n, 1);
  assert.ok(!opened.logged.join('').includes('another CA'), opened.logged.join(''));
});

test('a server that is killed right after a step finds its log whole and signs it anew', async (t) => {
  let opened = await dropped(t);
  await opened.take('publish');
  const old = opened.authority.caFingerprint;
  opened.stopSigning();
  await opened.take('activate');
  assert.deepEqual(await signers(opened), [old, old]);
  opened = await opened.kill();
  const next = opened.authority.caFingerprint;
  assert.deepEqual(await signers(opened), [next, next]);
  await opened.take('retire');
  opened = await opened.kill();
  await isWhole(opened, next);
  await older(opened);
  await isWhole(opened, next);
});

test('the old root is not retired while what it has signed cannot be signed anew', async (t) => {
  const opened = await dropped(t);
  const { authority, take, trail, store, stopSigning } = opened;
  await take('publish');
  stopSigning();
  await take('activate');
  // All but the signatures can be written.
  await sql`create trigger full before insert on audit_checkpoints begin select raise(abort, 'full'); end`.execute(
    store.db,
  );
  authority.onChange(() => trail.sign());
  await assert.rejects(take('retire'));
  assert.equal(authority.phase, 'activated');
  await sql`drop trigger full`.execute(store.db);
  await take('retire');
  await isWhole(opened, authority.caFingerprint);
});

test('an anchor that nobody vouches for is not made good by a new key', async (t) => {
  const opened = await dropped(t);
  await sql`update audit_checkpoints set signature = 'AAAA' where kind = 'anchor'`.execute(opened.store.db);
  await opened.take('publish');
  await opened.take('activate');
  assert.equal((await opened.store.auditCheckpoints.last('anchor'))?.signature, 'AAAA');
  const found = await opened.trail.verify();
  assert.deepEqual(isFault(found) && found.kind, 'forged');
});

test('below an offline root the intermediate signs, and its successor before it is gone', async (t) => {
  const opened = await dropped(t);
  const { authority, offline, take, clock } = opened;
  const old = authority.caFingerprint;
  const root = await offlineRoot(clock);
  await offline.import(await signed(root, await offline.request(ANN), clock, 100), ANN);
  await take('activate');
  const first = authority.ca.keyPin;
  assert.notEqual(first, root.fingerprint);
  assert.deepEqual(await signers(opened), [first, first]);
  await isWhole(opened, old);
  await take('retire');
  await isWhole(opened, root.fingerprint);

  // The first intermediate ends before its successor comes.
  clock.setWallClock(clock.now() + 101 * DAY_MS);
  const csr = await offline.request(ANN);
  assert.equal(await offline.import(await signed(root, csr, clock), ANN), 'renewed');
  const second = authority.ca.keyPin;
  assert.notEqual(second, first);
  assert.deepEqual(await signers(opened), [second, second]);
  await isWhole(opened, root.fingerprint);
  const again = await opened.kill();
  await older(again);
  await isWhole(again, root.fingerprint);

  // From one offline root to the next.
  const next = await offlineRoot(clock);
  const bundle = await signed(next, await again.offline.request(ANN), clock);
  const word = await root.endorse({ root: readCertificate(next.certPem), days: 30, clock });
  await again.offline.import(bundle + word, ANN);
  await again.take('activate');
  await isWhole(again, root.fingerprint);
  await again.take('retire');
  await isWhole(again, next.fingerprint);
  await older(again);
  await isWhole(again, next.fingerprint);
});
