import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { decodeRecord } from '../../../../server/authority/ca-record.ts';
import { OfflineRoot } from '../../../../server/authority/offline-root.ts';
import { resealCa } from '../../../../server/authority/reseal.ts';
import { Rotation } from '../../../../server/authority/rotation.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { testAuthority } from './fixtures.ts';

const SETTING = 'authority.ca';
const ANN = { name: 'ann' };

function refused(why: RegExp) {
  return (error: unknown) => {
    assert.ok(isFairleadError(error, 'VALIDATION'), String(error));
    assert.match(error.message, why);
    assert.doesNotMatch(error.message, /\n|old one|new one/);
    return true;
  };
}

async function fixture(t: TestContext) {
  const opened = await testAuthority(t);
  const { options, settings } = opened;
  const reseal = (passphrase?: string, newPassphrase?: string, changes: { commit?: typeof options.commit } = {}) =>
    resealCa({
      settings,
      commit: changes.commit ?? options.commit ?? assert.fail('no commit'),
      dataDir: options.dataDir,
      passphrase,
      newPassphrase,
    });
  const stored = () => String(settings.values.get(SETTING));
  const files = async () => (await readdir(options.dataDir)).sort();
  return { ...opened, reseal, stored, files };
}

test('from the master key to a passphrase, to another one, and back', async (t) => {
  const { open, reseal, files, options, changes } = await fixture(t);
  const { caPem } = await open();
  const masterKey = await readFile(join(options.dataDir, 'master.key'), 'utf8');
  await reseal(undefined, 'old one');
  assert.deepEqual(await files(), ['ca.pem']);
  await assert.rejects(open(), refused(/start with --ca-passphrase-file/));
  assert.equal((await open({ passphrase: 'old one' })).caPem, caPem);
  await reseal('old one', 'new one');
  await assert.rejects(open({ passphrase: 'old one' }), refused(/the passphrase is wrong/));
  assert.equal((await open({ passphrase: 'new one' })).caPem, caPem);
  await reseal('new one');
  assert.equal((await open()).caPem, caPem);
  assert.notEqual(await readFile(join(options.dataDir, 'master.key'), 'utf8'), masterKey);
  assert.deepEqual(
    changes.map(({ actor, action, detail }) => `${actor} ${action} ${detail?.['to']}`),
    ['passphrase', 'passphrase', 'master-key'].map((to) => `system ca.reseal ${to}`),
  );
});

test('all keys move together: those of a rotation, and the one of a request', async (t) => {
  const { open, reseal, options, clock } = await fixture(t);
  const authority = await open();
  const log = pino({ level: 'silent' });
  const rotation = new Rotation({
    authority,
    hosts: { list: async () => [] },
    operatorCertificates: { goodExceptOf: async () => [] },
    clock,
    log,
    caKeyBits: 2048,
  });
  await new OfflineRoot({ authority, rotation, clock, caKeyBits: 2048 }).request(ANN);
  await reseal(undefined, 'new one');
  const resealed = await open({ passphrase: 'new one' });
  assert.ok(resealed.state.record.request);
  await resealed.seal.unseal(resealed.state.record.request.sealedKey);
  const again = new Rotation({
    ...{
      authority: resealed,
      hosts: { list: async () => [] },
      operatorCertificates: { goodExceptOf: async () => [] },
      clock,
      log,
    },
    caKeyBits: 2048,
  });
  await again.take('publish', { force: false }, ANN);
  await again.take('activate', { force: false }, ANN);
  await reseal('new one');
  const record = decodeRecord((await options.settings.get(SETTING)) ?? Buffer.alloc(0));
  assert.ok(record.previous);
  const last = await open();
  assert.equal(last.caFingerprint, resealed.caFingerprint);
  assert.equal(last.phase, 'activated');
});

test('what cannot be opened, or is nothing to change, is refused and left as it is', async (t) => {
  const { open, reseal, stored, files } = await fixture(t);
  await assert.rejects(reseal(undefined, 'x'), refused(/there is no CA in .* yet: start the server once/));
  await open();
  const before = [stored(), (await files()).join()];
  await assert.rejects(reseal('wrong', 'x'), refused(/start without --ca-passphrase-file/));
  await assert.rejects(reseal(), refused(/rest under master.key already/));
  await assert.rejects(reseal(undefined, ''), refused(/new passphrase of the CA is empty/));
  assert.deepEqual([stored(), (await files()).join()], before);
  await reseal(undefined, 'right');
  const sealed = stored();
  await assert.rejects(reseal('wrong', 'x'), refused(/the passphrase is wrong or it was damaged/));
  await assert.rejects(reseal(undefined, 'x'), refused(/start with --ca-passphrase-file/));
  assert.equal(stored(), sealed);
});

test('a crash before the record is written leaves the old secret, one behind it the new one', async (t) => {
  const { open, reseal, options } = await fixture(t);
  await open();
  const cut = new FairleadError('STORE_FULL', 'the disk is full');
  const before = async () => Promise.reject(cut);
  const behind: NonNullable<typeof options.commit> = async (...change) => {
    await options.commit?.(...change);
    throw cut;
  };
  await assert.rejects(reseal(undefined, 'new one', { commit: before }), cut);
  await open();
  await assert.rejects(reseal(undefined, 'new one', { commit: behind }), cut);
  await open({ passphrase: 'new one' });
  await assert.rejects(reseal('new one', undefined, { commit: before }), cut);
  await open({ passphrase: 'new one' });
  await assert.rejects(reseal('new one', undefined, { commit: behind }), cut);
  await open();
});

test('what is sealed beside the CA opens over reseals and rotations, by a key that is made when it is needed', async (t) => {
  const { open, reseal, changes, stored } = await fixture(t);
  const first = await open();
  assert.doesNotMatch(stored(), /secretsKey/);
  const [one, two] = await Promise.all([first.secrets.seal('one', 'a'), first.secrets.seal('two', 'a')]);
  assert.deepEqual(
    changes.map(({ action }) => action),
    ['secrets.key'],
  );
  await reseal(undefined, 'new one');
  const second = await open({ passphrase: 'new one' });
  assert.deepEqual([await second.secrets.open(one, 'a'), await second.secrets.open(two, 'a')], ['one', 'two']);
  const { current, secretsKey, ...rest } = decodeRecord(Buffer.from(stored()));
  await second.change({ ...rest, current, ...(secretsKey && { secretsKey }) }, { actor: 'ann', action: 'ca.test' });
  assert.equal(await (await open({ passphrase: 'new one' })).secrets.open(one, 'a'), 'one');
});
