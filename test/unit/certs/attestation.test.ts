/** Whose statements count: of the certificates in a bundle only those that a trusted root stands behind. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, test } from 'node:test';
import { attestedBytes, attestersFrom, attestersIn, checkAttestation } from '../../../certs/attestation.ts';
import { type Ca, createCa, createOfflineRoot, openCa } from '../../../certs/authority.ts';
import { createCaRequest, readCaRequest } from '../../../certs/intermediate.ts';
import { readCertificate } from '../../../certs/pem.ts';
import { pinOfSpki, spkiOf } from '../../../certs/pin.ts';
import { systemClock } from '../../../shared/clock.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { clockAt, DAY_MS, p256, rsa } from './fixtures.ts';

const NOW = Date.now();
const installationId = randomUUID();
let online: Ca;
let offline: Ca;
let stranger: Ca;
/** Below `offline`, for ten days, and below `stranger`. */
let intermediate: string;
let foreign: string;
/** Of `offline` by `online`, for ten days. */
let word: string;

async function below(root: Ca): Promise<string> {
  const csr = await createCaRequest(rsa().privateKey, installationId);
  return (await root.issueIntermediate({ ...(await readCaRequest(csr)), days: 10, clock: clockAt(NOW) })).certPem;
}

before(async () => {
  const root = async () => openCa(await createOfflineRoot({ clock: systemClock, bits: 2048 }));
  online = openCa(await createCa({ installationId, clock: systemClock, bits: 2048 }));
  [offline, stranger] = await Promise.all([root(), root()]);
  [intermediate, foreign] = await Promise.all([below(offline), below(stranger)]);
  word = await online.endorse({ root: readCertificate(offline.certPem), days: 10, clock: clockAt(NOW) });
});

const pinOf = (pem: string) => pinOfSpki(spkiOf(readCertificate(pem).publicKey));
const sorted = (keys: ReadonlyMap<string, unknown>) => [...keys.keys()].sort();
const from = (bundle: readonly string[], { fingerprint }: Ca, now = NOW) =>
  sorted(attestersFrom(bundle.join(''), fingerprint, now));
const pins = (...pems: readonly string[]) => pems.map(pinOf).sort();

test('a root that is known counts, what it endorses, and the intermediates below those', () => {
  assert.deepEqual(from([online.certPem], online), pins(online.certPem));
  const all = [offline.certPem, online.certPem, word, intermediate];
  assert.deepEqual(from(all, online), pins(online.certPem, offline.certPem, intermediate));
  assert.deepEqual(from([...all].reverse(), online), pins(online.certPem, offline.certPem, intermediate));
  assert.deepEqual(from(all, offline), pins(offline.certPem, intermediate));
});

test('nothing counts by its own word, without its root, or by that of a stranger', async () => {
  const { certPem } = offline;
  assert.deepEqual(from([certPem, intermediate], online), []);
  assert.deepEqual(from([online.certPem, certPem, intermediate], online), pins(online.certPem));
  assert.deepEqual(from([certPem, stranger.certPem, foreign], offline), pins(certPem));
  // The endorsement without the root that it speaks of: its key does not stand for itself.
  assert.deepEqual(from([online.certPem, word, intermediate], online), pins(online.certPem));
  // The pin of an intermediate is that of no root.
  assert.deepEqual(sorted(attestersFrom(certPem + intermediate, pinOf(intermediate), NOW)), []);
  const leaf = await offline.issueAgent({
    ...{ spki: spkiOf(p256().publicKey), hostId: randomUUID(), installationId, clock: systemClock },
  });
  assert.deepEqual(from([certPem, leaf.certPem], offline), pins(certPem));
});

test('an endorsement passes for no intermediate, also by a root that may have some', async () => {
  const byOffline = await offline.endorse({ root: readCertificate(stranger.certPem), days: 10, clock: clockAt(NOW) });
  assert.deepEqual(from([offline.certPem, byOffline], offline), pins(offline.certPem));
  assert.deepEqual(sorted(attestersIn(offline.certPem + byOffline)), pins(offline.certPem));
});

test('of what anyone may send, endorsements and intermediates count for their time alone', () => {
  const all = [offline.certPem, online.certPem, word, intermediate];
  const late = NOW + 11 * DAY_MS;
  assert.deepEqual(from(all, online, late), pins(online.certPem));
  assert.deepEqual(from(all, offline, late), pins(offline.certPem));
  assert.deepEqual(from(all, offline, NOW - DAY_MS), pins(offline.certPem));
});

test('a file of one’s own is trusted for its roots and what stands below them, however old', async () => {
  const all = offline.certPem + online.certPem + word + intermediate;
  assert.deepEqual(sorted(attestersIn(all)), pins(offline.certPem, online.certPem, intermediate));
  assert.deepEqual(sorted(attestersIn(`kept in 2020\n${offline.certPem}\n${foreign}`)), pins(offline.certPem));
  assert.deepEqual(sorted(attestersIn(intermediate)), []);
  const refused = (pem: string, why: RegExp) =>
    assert.throws(
      () => attestersIn(pem),
      (error) => isFairleadError(error, 'VALIDATION') && why.test(error.message),
    );
  refused('nothing', /no certificate/);
  refused(online.certPem.repeat(65), /more than 64/);
  refused(online.certPem.replace('MII', 'AII'), /damaged/);
});

test('a statement is good for its signer, its purpose and its text', async () => {
  const ca = openCa(await createCa({ installationId, clock: systemClock, bits: 2048 }));
  const signature = (await ca.attest('a', 'text')).toString('base64');
  const keys = attestersFrom(ca.certPem, ca.fingerprint, NOW);
  const statement = { purpose: 'a', text: 'text', signer: ca.keyPin, signature };
  assert.equal(await checkAttestation(keys, statement), 'good');
  assert.equal(await checkAttestation(keys, { ...statement, purpose: 'b' }), 'forged');
  assert.equal(await checkAttestation(keys, { ...statement, text: 'texts' }), 'forged');
  assert.equal(await checkAttestation(keys, { ...statement, signature: `${signature} ` }), 'forged');
  assert.equal(await checkAttestation(keys, { ...statement, signer: online.keyPin }), 'unknown');
  assert.throws(() => attestedBytes('A b', 'text'), /no purpose/);
});
