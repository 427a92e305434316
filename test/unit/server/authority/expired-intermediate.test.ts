/** An intermediate that has expired keeps a server from starting; another one is asked for and taken in without it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { createOfflineRoot, openCa } from '../../../../certs/authority.ts';
import { readCaRequest } from '../../../../certs/intermediate.ts';
import { importWhileStopped, requestWhileStopped } from '../../../../server/authority/expired-intermediate.ts';
import { OfflineRoot } from '../../../../server/authority/offline-root.ts';
import { Rotation } from '../../../../server/authority/rotation.ts';
import { type TestAuthority, testAuthority } from './fixtures.ts';

const ANN = { name: 'ann' };
const DAY_MS = 24 * 60 * 60_000;

async function signedBy(root: Awaited<ReturnType<typeof newRoot>>, csr: string, clock: TestAuthority['clock']) {
  const { certPem } = await root.issueIntermediate({ ...(await readCaRequest(csr)), days: 100, clock });
  return root.certPem + certPem;
}

async function newRoot(clock: TestAuthority['clock']) {
  return openCa(await createOfflineRoot({ clock, bits: 2048 }));
}

test('an expired intermediate is renewed while no server runs, below the same root alone', async (t) => {
  const { open, options, settings, changes, clock } = await testAuthority(t);
  const authority = await open();
  const stopped = {
    settings,
    commit: options.commit ?? assert.fail('no commit'),
    dataDir: options.dataDir,
    passphrase: undefined,
    clock,
    caKeyBits: 2048,
  };
  await assert.rejects(requestWhileStopped(stopped), { code: 'CONFLICT', message: /root of this CA is not offline/ });
  const rotation = new Rotation({
    ...{ authority, clock, log: pino({ level: 'silent' }), caKeyBits: 2048 },
    hosts: { list: async () => [] },
    operatorCertificates: { goodExceptOf: async () => [] },
  });
  const offline = new OfflineRoot({ authority, rotation, clock, caKeyBits: 2048 });
  const root = await newRoot(clock);
  await offline.import(await signedBy(root, await offline.request(ANN), clock), ANN);
  await rotation.take('activate', { force: false }, ANN);
  await rotation.take('retire', { force: false }, ANN);
  authority.close();

  clock.set(clock.now() + 101 * DAY_MS);
  await assert.rejects(open(), { code: 'CERT_EXPIRED' });
  await assert.rejects(importWhileStopped(stopped, 'x'), { code: 'CONFLICT', message: /--ca-request-file/ });
  const csr = await requestWhileStopped(stopped);
  assert.equal(await requestWhileStopped(stopped), csr);
  await assert.rejects(importWhileStopped(stopped, await signedBy(await newRoot(clock), csr, clock)), /another root/);
  await importWhileStopped(stopped, await signedBy(root, csr, clock));
  const again = await open();
  t.after(() => again.close());
  assert.equal(again.caFingerprint, root.fingerprint);
  assert.equal(changes.at(-1)?.action, 'ca.renew-intermediate');
});
