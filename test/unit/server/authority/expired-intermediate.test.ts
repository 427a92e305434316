/** An intermediate that has expired keeps a server from starting; another one is asked for and taken in without it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { importWhileStopped, requestWhileStopped } from '../../../../server/authority/expired-intermediate.ts';
import { ANN, offlineRoot, rotating, signed } from './rotating.ts';

const DAY_MS = 24 * 60 * 60_000;

test('an expired intermediate is renewed while no server runs, below the same root alone', async (t) => {
  const { authority, open, options, settings, changes, clock, offline, take } = await rotating(t);
  const stopped = {
    settings,
    commit: options.commit ?? assert.fail('no commit'),
    dataDir: options.dataDir,
    passphrase: undefined,
    clock,
    caKeyBits: 2048,
  };
  await assert.rejects(requestWhileStopped(stopped), { code: 'CONFLICT', message: /root of this CA is not offline/ });
  const root = await offlineRoot(clock);
  await offline.import(await signed(root, await offline.request(ANN), clock, 100), ANN);
  await take('activate');
  await take('retire');
  authority.close();

  clock.set(clock.now() + 101 * DAY_MS);
  await assert.rejects(open(), { code: 'CERT_EXPIRED' });
  await assert.rejects(importWhileStopped(stopped, 'x'), { code: 'CONFLICT', message: /--ca-request-file/ });
  const csr = await requestWhileStopped(stopped);
  assert.equal(await requestWhileStopped(stopped), csr);
  await assert.rejects(
    importWhileStopped(stopped, await signed(await offlineRoot(clock), csr, clock, 100)),
    /another root/,
  );
  await importWhileStopped(stopped, await signed(root, csr, clock, 100));
  const again = await open();
  t.after(() => again.close());
  assert.equal(again.caFingerprint, root.fingerprint);
  assert.equal(changes.at(-1)?.action, 'ca.renew-intermediate');
});
