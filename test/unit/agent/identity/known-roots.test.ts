import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { Credentials } from '../../../../agent/identity/credentials.ts';
import { KnownRoots } from '../../../../agent/identity/known-roots.ts';
import { loadIdentity, storeIdentity } from '../../../../agent/identity/state-dir.ts';
import type { Ca } from '../../../../certs/authority.ts';
import { readCertificate } from '../../../../certs/pem.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { tempDir } from '../../../support/tmp.ts';
import { newIdentity } from '../link/agent-port.ts';
import { newPki, type Pki } from './pki.ts';

let old: Pki;
let next: Pki;
let stranger: Pki;
let word: string;

before(async () => {
  [old, next, stranger] = await Promise.all([newPki(), newPki(), newPki()]);
  word = await endorse(old.ca, next.ca);
});

function endorse(by: Ca, root: Ca): Promise<string> {
  return by.endorse({ root: readCertificate(root.certPem), days: 30, clock: systemClock });
}

async function fixture(t: TestContext, bundle: () => string = () => '') {
  const stateDir = join(await tempDir(t, 'roots'), 'state');
  await mkdir(stateDir, { mode: 0o700 });
  await storeIdentity(stateDir, await newIdentity(old, 'wss://127.0.0.1:1/agent'));
  const deps = { stateDir, clock: systemClock, log: pino({ level: 'silent' }), fetchBundle: async () => bundle() };
  const holder = await Credentials.load(stateDir);
  const roots = new KnownRoots(holder, deps);
  const pins = async () => {
    const { caPem, record } = await loadIdentity(stateDir);
    assert.equal(caPem, holder.current().caPem);
    assert.equal(record.caFingerprint, holder.current().record.caFingerprint);
    return { caPem, pin: record.caFingerprint };
  };
  return { stateDir, roots, holder, pins };
}

const update = (version: number, roots: Ca[], endorsements: string[] = []) => ({
  version,
  roots: roots.map(({ certPem }) => certPem),
  endorsements,
});

test('the roots follow the server from the old one to the new one', async (t) => {
  const { roots, pins } = await fixture(t);
  const [a, b] = [old.ca, next.ca];
  assert.deepEqual(await roots.follow(update(2, [a, b], [word])), {
    version: 2,
    roots: [a.fingerprint, b.fingerprint],
  });
  assert.deepEqual(await pins(), { caPem: a.certPem + b.certPem, pin: a.fingerprint });
  await roots.follow(update(3, [b, a], [word]));
  assert.deepEqual(await pins(), { caPem: b.certPem + a.certPem, pin: b.fingerprint });
  assert.deepEqual(await roots.follow(update(4, [b])), { version: 4, roots: [b.fingerprint] });
  assert.deepEqual(await pins(), { caPem: b.certPem, pin: b.fingerprint });
});

test('nothing unendorsed is taken, and an update without a trusted root is none', async (t) => {
  const { roots, pins } = await fixture(t);
  const [a, b, c] = [old.ca, next.ca, stranger.ca];
  const before = await pins();
  assert.deepEqual((await roots.follow(update(2, [a, c]))).roots, [a.fingerprint]);
  assert.deepEqual((await roots.follow(update(2, [a, b], [await endorse(c, b)]))).roots, [a.fingerprint]);
  const refused = (error: unknown) => isFairleadError(error, 'VALIDATION');
  await assert.rejects(roots.follow(update(2, [c])), refused);
  await assert.rejects(roots.follow(update(2, [b], [word])), refused);
  assert.deepEqual(await pins(), before);
});

test('what an unverified network says adds endorsed roots and drops none', async (t) => {
  let bundle = '';
  const { roots, pins } = await fixture(t, () => bundle);
  const [a, b, c] = [old.ca, next.ca, stranger.ca];
  for (bundle of ['', c.certPem, b.certPem, c.certPem + word, a.certPem]) assert.equal(await roots.catchUp(), false);
  bundle = b.certPem + a.certPem + word;
  assert.equal(await roots.catchUp(), true);
  assert.deepEqual(await pins(), { caPem: a.certPem + b.certPem, pin: a.fingerprint });
  bundle = a.certPem;
  assert.equal(await roots.catchUp(), false);
  bundle = b.certPem;
  assert.equal(await roots.catchUp(), false);
  assert.deepEqual(await pins(), { caPem: a.certPem + b.certPem, pin: a.fingerprint });
});

test('what the owner wrote into agent.json stays, whatever the server says', async (t) => {
  const { roots, stateDir } = await fixture(t);
  const file = join(stateDir, 'agent.json');
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), deny: ['exec'] }));
  await roots.follow(update(2, [next.ca, old.ca], [word]));
  const record = JSON.parse(await readFile(file, 'utf8'));
  assert.deepEqual([record.deny, record.caFingerprint], [['exec'], next.ca.fingerprint]);
});

test('a crash between any two writes leaves an identity that loads', async (t) => {
  const { stateDir } = await fixture(t);
  const [a, b] = [old.ca, next.ca];
  const file = join(stateDir, 'agent.json');
  const record = JSON.parse(await readFile(file, 'utf8'));
  // The union is there before agent.json names either, and goes only after.
  await writeFile(join(stateDir, 'ca.pem'), b.certPem + a.certPem);
  for (const { fingerprint } of [a, b]) {
    await writeFile(file, JSON.stringify({ ...record, caFingerprint: fingerprint }));
    assert.equal((await loadIdentity(stateDir)).record.caFingerprint, fingerprint);
  }
  await writeFile(file, JSON.stringify({ ...record, caFingerprint: stranger.ca.fingerprint }));
  await assert.rejects(loadIdentity(stateDir), (error) => isFairleadError(error, 'VALIDATION'));
});
