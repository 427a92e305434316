/** A root that is kept elsewhere: its intermediate is asked for, taken in and renewed, and only it endorses its successor. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCa, openCa } from '../../../../certs/authority.ts';
import { rootOf } from '../../../../certs/chain.ts';
import { readCertificate } from '../../../../certs/pem.ts';
import { rootsIn } from '../../../../certs/trust.ts';
import { authorityKeyIdentifier } from '../../../../certs/x509-fields.ts';
import { ANN, issue, led, offlineRoot, refused, rotating, signed } from './rotating.ts';

const DAY_MS = 24 * 60 * 60_000;

test('an offline root becomes the next one, and its intermediate is renewed below it', async (t) => {
  const { authority, offline, take, clock, logged, open } = await rotating(t);
  const old = authority.caFingerprint;
  await assert.rejects(offline.import('x', ANN), refused('CONFLICT', /there is no request/));
  const csr = await offline.request(ANN);
  assert.equal(await offline.request(ANN), csr);
  const root = await offlineRoot(clock);
  assert.equal(await offline.import(await signed(root, csr, clock, 100), ANN), 'published');
  assert.deepEqual(led(authority, old), [old, root.fingerprint]);
  await take('activate');
  await take('retire');
  assert.equal(authority.caFingerprint, root.fingerprint);
  const { certPem } = await issue(authority, { clock });
  assert.equal(rootOf(certPem, rootsIn(authority.trust().rootsPem), clock.now())?.pin, root.fingerprint);
  assert.equal(rootOf(authority.serverTls().cert, rootsIn(root.certPem), clock.now())?.pin, root.fingerprint);
  await assert.rejects(take('publish'), refused('CONFLICT', /the root is offline and has to endorse its successor/));

  clock.set(clock.now() + 50 * DAY_MS);
  assert.match(authority.warnings().join(), /the intermediate CA expires soon, in (?:49|50) days/);
  const again = await open();
  assert.match(logged.join(''), /the intermediate CA expires soon/);
  assert.equal(again.caFingerprint, root.fingerprint);
  const { version } = authority.trust();
  assert.equal(await offline.import(await signed(root, await offline.request(ANN), clock), ANN), 'renewed');
  assert.deepEqual([authority.phase, authority.trust().version], ['stable', version]);
  assert.deepEqual(authority.warnings(), []);
  // What the intermediate of before has issued still counts, and need not be renewed.
  const issuerKey = authorityKeyIdentifier(readCertificate(certPem.slice(0, certPem.indexOf('-----END') + 26)));
  assert.ok(authority.trust().issuers.has(issuerKey?.toString('hex') ?? ''));
  assert.equal(authority.wantsRenewal({ issuerKey: issuerKey?.toString('hex') ?? '' }), false);
});

test('from one offline root to the next it goes only by the word of the old one', async (t) => {
  const { authority, offline, take, clock, addHost } = await rotating(t);
  const first = await offlineRoot(clock);
  await offline.import(await signed(first, await offline.request(ANN), clock), ANN);
  await take('activate');
  await take('retire');
  const second = await offlineRoot(clock);
  const bundle = await signed(second, await offline.request(ANN), clock);
  await assert.rejects(offline.import(bundle, ANN), refused('VALIDATION', /has not endorsed the new one/));
  const stranger = openCa(await createCa({ installationId: authority.installationId, clock, bits: 2048 }));
  const root = readCertificate(second.certPem);
  const forged = await stranger.endorse({ root, days: 30, clock });
  await assert.rejects(offline.import(bundle + forged, ANN), refused('VALIDATION', /has not endorsed the new one/));
  const word = await first.endorse({ root, days: 30, clock });
  assert.equal(await offline.import(bundle + word, ANN), 'published');
  assert.deepEqual(led(authority, first.fingerprint), [first.fingerprint, second.fingerprint]);
  await take('activate');
  // Nobody can lead this host back: the key that could is elsewhere.
  await addHost('newborn', [second.fingerprint]);
  await assert.rejects(take('abort'), refused('CONFLICT', /know the new root alone.*: newborn$/));
  await take('abort', true);
  assert.equal(authority.caFingerprint, first.fingerprint);
});

test('only what the request was for is imported', async (t) => {
  const { authority, offline, clock, changes } = await rotating(t);
  const other = await rotating(t);
  const root = await offlineRoot(clock);
  const good = await signed(root, await offline.request(ANN), clock);
  const foreign = await signed(root, await other.offline.request(ANN), clock);
  const cases: [string, RegExp][] = [
    ['nothing', /not one root and one intermediate/],
    [root.certPem, /not one root and one intermediate/],
    [good + good, /not one root and one intermediate/],
    [foreign, /not for the key of the last/],
    [good.replace(root.certPem, (await offlineRoot(clock)).certPem), /not signed by the root beside it/],
    [good.replace(root.certPem, authority.caPem), /allows no CA below it/],
  ];
  const before = changes.length;
  for (const [bundle, why] of cases) await assert.rejects(offline.import(bundle, ANN), refused('VALIDATION', why));
  clock.set(clock.now() + 731 * DAY_MS);
  await assert.rejects(offline.import(good, ANN), refused('VALIDATION', /the intermediate expired on /));
  assert.equal(changes.length, before);
  assert.equal(authority.phase, 'stable');
});
