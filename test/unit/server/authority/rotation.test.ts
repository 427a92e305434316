/** The root of a CA changes step by step: nobody is locked out unawares, and each step can be taken back. */
import assert from 'node:assert/strict';
import { createPublicKey, randomUUID, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readCertificate } from '../../../../certs/pem.ts';
import { spkiOf } from '../../../../certs/pin.ts';
import { rootsIn } from '../../../../certs/trust.ts';
import { authorityKeyIdentifier } from '../../../../certs/x509-fields.ts';
import { decodeRecord } from '../../../../server/authority/ca-record.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { type TestAuthority, testAuthority } from './fixtures.ts';
import { issue, led, pinsOf, refused, rotating, rotatingOver } from './rotating.ts';

const SETTING = 'authority.ca';
const DAY_MS = 24 * 60 * 60_000;

test('a rotation goes from root to root, and the leaves with it', async (t) => {
  const { authority, take, changes, options } = await rotating(t);
  const old = authority.caFingerprint;
  const before = authority.serverTls().cert;
  const told: string[][] = [];
  authority.onTrust(({ roots }) => told.push(roots.map(({ fingerprint }) => fingerprint)));

  await take('publish');
  const [, next = ''] = pinsOf(authority);
  assert.deepEqual(pinsOf(authority), [old, next]);
  assert.equal(authority.caFingerprint, old);
  assert.equal(authority.serverTls().cert, before);
  assert.deepEqual(led(authority, old), [old, next]);
  assert.deepEqual(led(authority, next), [next]);

  await take('activate');
  assert.equal(authority.caFingerprint, next);
  assert.deepEqual(pinsOf(authority), [next, old]);
  assert.deepEqual(led(authority, old), [next, old]);
  const leaf = new X509Certificate(authority.serverTls().cert);
  assert.ok(leaf.verify(readCertificate(authority.caPem).publicKey));
  assert.equal(rootsIn(await readFile(join(options.dataDir, 'ca.pem'), 'utf8')).length, 2);

  await take('retire');
  assert.deepEqual(pinsOf(authority), [next]);
  assert.deepEqual(led(authority, old), []);
  assert.deepEqual(told, [[old, next], [next, old], [next]]);
  assert.deepEqual(
    changes.map(({ action, actor }) => `${actor} ${action}`),
    ['ann ca.publish', 'ann ca.activate', 'ann ca.retire'],
  );
});

test('each step can be taken back, and whoever knows the new root alone is led back for a time', async (t) => {
  const { authority, take } = await rotating(t);
  const old = authority.caFingerprint;
  await take('publish');
  await take('abort');
  assert.deepEqual(pinsOf(authority), [old]);

  await take('publish');
  await take('activate');
  const next = authority.caFingerprint;
  await take('abort');
  assert.deepEqual(pinsOf(authority), [old, next]);
  assert.equal(authority.caFingerprint, old);
  assert.deepEqual(led(authority, next), [old, next]);
  assert.deepEqual(led(authority, next, Date.now() + 31 * DAY_MS), [next]);
  await take('activate');
  // The old root is on its way out again: nobody is led to it any more.
  assert.deepEqual(led(authority, next), [next]);
  await take('abort');
  await take('abort');
  assert.deepEqual(pinsOf(authority), [old]);
});

test('steps out of turn are refused with what to do', async (t) => {
  const { take, changes } = await rotating(t);
  await assert.rejects(take('activate'), refused('CONFLICT', /begin one with "fairlead ca rotate"/));
  await assert.rejects(take('retire'), refused('CONFLICT', /no rotation is in progress/));
  await assert.rejects(take('abort'), refused('CONFLICT', /no rotation is in progress/));
  const first = take('publish');
  await assert.rejects(take('publish'), refused('CONFLICT', /another change of the CA is in progress/));
  await first;
  await assert.rejects(take('publish'), refused('CONFLICT', /activate it with/));
  await assert.rejects(take('retire'), refused('CONFLICT', /a new root is published/));
  await take('activate');
  await assert.rejects(take('activate'), refused('CONFLICT', /retire the old one with/));
  assert.equal(changes.length, 2);
});

test('every restart goes on from where the last change was, and a change that fails has not been', async (t) => {
  const opened = await testAuthority(t);
  let failing = false;
  const commit: TestAuthority['options']['commit'] = async (key, value) => {
    if (failing) throw new FairleadError('STORE_FULL', 'the disk is full');
    opened.settings.values.set(key, Buffer.from(value));
  };
  let now = rotatingOver(opened, await opened.open({ commit }));
  const { installationId } = now.authority;
  for (const action of ['publish', 'abort', 'publish', 'activate', 'abort', 'activate', 'retire'] as const) {
    const { authority } = now;
    const before = [authority.phase, authority.trust().pem, authority.serverTls().cert, authority.caFingerprint];
    failing = true;
    await assert.rejects(now.take(action), refused('STORE_FULL', /full/));
    assert.deepEqual(
      [authority.phase, authority.trust().pem, authority.serverTls().cert, authority.caFingerprint],
      before,
    );
    // As after a kill right before the commit …
    now = rotatingOver(opened, await opened.open({ commit }));
    assert.deepEqual([now.authority.phase, now.authority.trust().pem], before.slice(0, 2));
    failing = false;
    await now.take(action);
    const after = now.authority;
    // … and right behind it, before anyone was told.
    now = rotatingOver(opened, await opened.open({ commit }));
    assert.equal(now.authority.phase, after.phase);
    assert.equal(now.authority.trust().pem, after.trust().pem);
    assert.equal(now.authority.trust().version, after.trust().version);
    assert.equal(now.authority.installationId, installationId);
    const { publicKey } = readCertificate(now.authority.caPem);
    assert.ok(new X509Certificate(now.authority.serverTls().cert).verify(publicKey));
  }
  assert.equal(now.authority.phase, 'stable');
});

test('no step locks hosts out unless it is forced', async (t) => {
  const { authority, take, hosts, addHost, changes } = await rotating(t);
  const old = authority.caFingerprint;
  await addHost('silent');
  await addHost('told', [old]);
  await take('publish');
  await take('activate');
  const next = authority.caFingerprint;
  await assert.rejects(take('retire'), refused('CONFLICT', /silent, told$/));
  await addHost('new', [next]);
  const [silent, told] = hosts;
  assert.ok(silent && told);
  // One knows the new root and has no certificate of it, the other one the other way round.
  hosts[0] = { ...silent, roots: [old, next] };
  hosts[1] = { ...told, certificates: hosts[2]?.certificates ?? [] };
  await assert.rejects(take('retire'), refused('CONFLICT', /silent, told$/));
  hosts[1] = { ...told, certificates: [] };
  await assert.rejects(take('retire'), refused('CONFLICT', /force it: silent$/));

  await take('abort');
  await assert.rejects(take('abort'), refused('CONFLICT', /certificate of it, or force it: new$/));
  await take('activate');
  await take('retire', true);
  assert.deepEqual(changes.at(-1)?.detail?.['forced'], true);
  assert.deepEqual(changes.at(-1)?.detail?.['lockedOut'], 1);
});

test('a host is ready only if whatever it may come back with is of the new root', async (t) => {
  const { take, hosts, addHost, authority } = await rotating(t);
  const old = authority.caFingerprint;
  await addHost('renewing', [old]);
  await take('publish');
  await take('activate');
  const next = authority.caFingerprint;
  // Enrolled since: it knows the server by the new root alone, and never had to say so.
  await addHost('newborn');
  await addHost('renewed', [next, old]);
  const [renewing, , renewed] = hosts;
  assert.ok(renewing && renewed);
  // It was issued a certificate of either root, and which one it has in use cannot be told.
  hosts[0] = { ...renewing, roots: [next, old], certificates: [...renewed.certificates, ...renewing.certificates] };
  await assert.rejects(take('retire'), refused('CONFLICT', /force it: renewing$/));
  await take('abort');
  hosts.splice(1);
  await assert.rejects(take('abort'), refused('CONFLICT', /certificate of it, or force it: renewing$/));
  hosts[0] = { ...renewing, roots: [next, old] };
  await take('abort');
});

test('retiring a root says how many certificates of operators it ends, and is not held up by them', async (t) => {
  const { take, operators, changes } = await rotating(t);
  await take('publish');
  await take('activate');
  operators.push({ serial: 'AB', name: 'ann', notAfter: 1 });
  await take('retire');
  assert.deepEqual([changes.at(-1)?.action, changes.at(-1)?.detail?.['endedOperatorCertificates']], ['ca.retire', 1]);
});

test('certificates that are not of the current root are to be renewed', async (t) => {
  const { authority, take, clock } = await rotating(t);
  const keyOf = ({ certPem }: { certPem: string }) => ({
    issuerKey: authorityKeyIdentifier(readCertificate(certPem))?.toString('hex') ?? '',
  });
  const old = keyOf(await issue(authority, { clock }));
  assert.equal(authority.wantsRenewal(old), false);
  await take('publish');
  assert.equal(authority.wantsRenewal(old), false);
  await take('activate');
  const fresh = keyOf(await issue(authority, { clock }));
  assert.deepEqual([authority.wantsRenewal(old), authority.wantsRenewal(fresh)], [true, false]);
  assert.ok(authority.trust().issuers.has(old.issuerKey));
  await take('abort');
  assert.deepEqual([authority.wantsRenewal(old), authority.wantsRenewal(fresh)], [false, true]);
});

test('a record of the first version is read, and written in the new form at the first change', async (t) => {
  const { authority, settings, ...opened } = await rotating(t);
  const { current } = decodeRecord(settings.values.get(SETTING) ?? Buffer.alloc(0));
  const { installationId, caPem } = authority;
  const old = { version: 1, installationId, certPem: current.root, sealedKey: current.sealedKey };
  settings.values.set(SETTING, Buffer.from(JSON.stringify(old)));
  const again = rotatingOver({ ...opened, settings }, await opened.open());
  assert.equal(again.authority.caPem, caPem);
  assert.equal(again.authority.installationId, installationId);
  assert.equal(JSON.parse(String(settings.values.get(SETTING))).version, 1);
  await again.take('publish');
  assert.equal(JSON.parse(String(settings.values.get(SETTING))).version, 2);
});

test('the keys of no root get a certificate', async (t) => {
  const { authority, take, clock } = await rotating(t);
  await take('publish');
  const { installationId } = authority;
  for (const { certPem } of authority.trust().roots) {
    const spki = spkiOf(createPublicKey(certPem));
    const asked = authority.ca.issueAgent({ spki, hostId: randomUUID(), installationId, clock });
    await assert.rejects(asked, refused('CSR_INVALID', /the CA's own/));
  }
});
