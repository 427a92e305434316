import assert from 'node:assert/strict';
import { createPublicKey, randomUUID, X509Certificate } from 'node:crypto';
import { chmod, link, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { spkiOf, spkiPin } from '../../../../certs/pin.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { tempDir } from '../../../support/tmp.ts';
import { testAuthority } from './fixtures.ts';

const SETTING = 'authority.ca';

function refused(why: RegExp, code: FairleadError['code'] = 'VALIDATION') {
  return (error: unknown) => {
    assert.ok(isFairleadError(error, code), String(error));
    assert.match(error.message, why);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  };
}

test('a first start makes a CA, and every later start finds it', async (t) => {
  const { open, logged } = await testAuthority(t);
  const first = await open();
  const second = await open();
  assert.equal(second.installationId, first.installationId);
  assert.equal(second.caPem, first.caPem);
  assert.equal(first.caFingerprint, spkiPin(first.caPem));
  assert.match(first.ca.subject, new RegExp(`^O=Fairlead, CN=Fairlead CA ${first.installationId}$`));
  assert.equal(logged.filter((line) => line.includes('a certificate authority was made')).length, 1);
});

test('the files have their modes whatever the umask, and ca.pem is the CA', async (t) => {
  const { open, options } = await testAuthority(t);
  const before = process.umask(0o077);
  t.after(() => process.umask(before));
  const { caPem } = await open();
  process.umask(before);
  const modeOf = async (name: string) => (await stat(join(options.dataDir, name))).mode & 0o777;
  assert.equal(await modeOf('master.key'), 0o600);
  assert.equal(await modeOf('ca.pem'), 0o644);
  assert.equal(await readFile(join(options.dataDir, 'ca.pem'), 'utf8'), caPem);
  assert.deepEqual((await readdir(options.dataDir)).sort(), ['ca.pem', 'master.key']);
});

test('ca.pem is put right at every start', async (t) => {
  const { open, options } = await testAuthority(t);
  const { caPem } = await open();
  const file = join(options.dataDir, 'ca.pem');
  await writeFile(file, 'something else');
  await open();
  assert.equal(await readFile(file, 'utf8'), caPem);
  await rm(file);
  await open();
  assert.equal(await readFile(file, 'utf8'), caPem);
});

test('nothing that rests on the disk or is logged holds the private key', async (t) => {
  const { open, options, settings, logged } = await testAuthority(t);
  const authority = await open();
  const texts = [...settings.values.values()].map(String).concat(logged);
  for (const name of await readdir(options.dataDir)) texts.push(await readFile(join(options.dataDir, name), 'utf8'));
  assert.doesNotMatch(texts.join('\n'), /PRIVATE KEY/);
  assert.doesNotMatch(JSON.stringify(authority), /PRIVATE KEY/);
});

test('a copied store alone is no CA', async (t) => {
  const { open, options } = await testAuthority(t);
  await open();
  const elsewhere = await tempDir(t, 'thief');
  await assert.rejects(open({ dataDir: elsewhere }), refused(/master\.key is missing: .* put it back from a backup/));
  assert.deepEqual(await readdir(elsewhere), []);
  await rm(join(options.dataDir, 'master.key'));
  await assert.rejects(open(), refused(/master\.key is missing/));
  assert.deepEqual(await readdir(options.dataDir), ['ca.pem']);
});

test('a master key that is wrong or damaged is refused and left as it is', async (t) => {
  const { open, options } = await testAuthority(t);
  await open();
  const file = join(options.dataDir, 'master.key');
  for (const [text, why] of [
    ['ab'.repeat(32), /the master key is wrong or it was damaged/],
    ['ab'.repeat(31), /master\.key is damaged: it must hold 64 hex digits/],
    ['', /master\.key is damaged/],
  ] as const) {
    await writeFile(file, text);
    await assert.rejects(open(), refused(why));
    assert.equal(await readFile(file, 'utf8'), text);
  }
});

test('a start that was killed as it made the master key leaves no second name of it', async (t) => {
  const { open, options } = await testAuthority(t);
  await open();
  const file = join(options.dataDir, 'master.key');
  await link(file, `${file}.tmp`);
  await open();
  assert.deepEqual((await readdir(options.dataDir)).sort(), ['ca.pem', 'master.key']);
});

test('a damaged master key without a CA is not overwritten either', async (t) => {
  const { open, options, settings } = await testAuthority(t);
  const file = join(options.dataDir, 'master.key');
  await writeFile(file, 'precious');
  await assert.rejects(open(), refused(/master\.key is damaged/));
  assert.equal(await readFile(file, 'utf8'), 'precious');
  assert.equal(settings.values.size, 0);
});

test('under a passphrase the CA opens with it alone, and there is no master key', async (t) => {
  const { open, options } = await testAuthority(t);
  const passphrase = 'correct horse';
  const { caPem } = await open({ passphrase });
  assert.deepEqual(await readdir(options.dataDir), ['ca.pem']);
  assert.equal((await open({ passphrase })).caPem, caPem);
  await assert.rejects(open({ passphrase: 'wrong' }), refused(/the passphrase is wrong or it was damaged/));
  await assert.rejects(open(), refused(/sealed under a passphrase: start with --ca-passphrase-file/));
  assert.deepEqual(await readdir(options.dataDir), ['ca.pem']);
});

test('a passphrase for a CA under a master key is refused', async (t) => {
  const { open } = await testAuthority(t);
  await open();
  await assert.rejects(
    open({ passphrase: 'x' }),
    refused(/not under a passphrase: start without --ca-passphrase-file/),
  );
});

test('an empty passphrase makes no CA', async (t) => {
  const { open, options, settings } = await testAuthority(t);
  await assert.rejects(open({ passphrase: '' }), refused(/passphrase of the CA is empty/));
  assert.equal(settings.values.size, 0);
  assert.deepEqual(await readdir(options.dataDir), []);
});

test('a record that was damaged or changed is refused and left as it is', async (t) => {
  const { open, settings } = await testAuthority(t);
  await open();
  const other = await testAuthority(t);
  const foreign = await other.open();
  const whole = JSON.parse(String(settings.values.get(SETTING)));
  const cases: [unknown, RegExp][] = [
    ['not JSON', /the CA in the store is damaged/],
    [{}, /the CA in the store is damaged/],
    [{ ...whole, version: 3 }, /written by a newer version/],
    [
      { ...whole, current: { ...whole.current, root: foreign.caPem } },
      /the CA's key does not belong to its certificate/,
    ],
    [{ ...whole, current: { ...whole.current, root: '' } }, /certificate/],
    [{ ...whole, installationId: randomUUID() }, /the CA in the store is damaged/],
    [{ ...whole, current: { ...whole.current, sealedKey: '' } }, /the sealed key cannot be opened: it is damaged/],
    [
      { ...whole, current: { ...whole.current, sealedKey: whole.current.sealedKey.slice(0, -8) } },
      /is wrong or it was damaged/,
    ],
  ];
  for (const [value, why] of cases) {
    const bytes = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
    settings.values.set(SETTING, bytes);
    await assert.rejects(open(), refused(why));
    assert.deepEqual(settings.values.get(SETTING), bytes);
  }
});

test('a public host that is none is refused before anything is made', async (t) => {
  const { open, options, settings } = await testAuthority(t);
  await assert.rejects(open({ publicHosts: ['a b'] }), refused(/the public host "a b" is neither/));
  assert.deepEqual(await readdir(options.dataDir), []);
  assert.equal(settings.values.size, 0);
});

test('a store that fails leaves nothing that the next start would stumble over', async (t) => {
  const { open, options, settings } = await testAuthority(t);
  const full = new FairleadError('STORE_FULL', 'the disk is full');
  const failing = { get: (key: string) => settings.get(key), setOnce: () => Promise.reject(full) };
  await assert.rejects(open({ settings: failing }), full);
  const key = await readFile(join(options.dataDir, 'master.key'), 'utf8');
  await open();
  assert.equal(await readFile(join(options.dataDir, 'master.key'), 'utf8'), key);
});

test('of two CAs made at once the one in the store stands', async (t) => {
  const { open } = await testAuthority(t);
  const { settings } = await testAuthority(t);
  const late = { get: async () => undefined, setOnce: settings.setOnce.bind(settings) };
  const first = await open({ settings, passphrase: 'x' });
  const second = await open({ settings: late, passphrase: 'x' });
  assert.equal(second.caPem, first.caPem);
  assert.equal(second.installationId, first.installationId);
});

test('a data directory that is not there or not a directory is a clear error', async (t) => {
  const { open, options } = await testAuthority(t);
  const missing = join(options.dataDir, 'missing');
  await assert.rejects(
    open({ dataDir: missing }),
    refused(/master\.key cannot be written \(ENOENT\)/, 'STORE_UNAVAILABLE'),
  );
  await writeFile(missing, '');
  await assert.rejects(open({ dataDir: missing }), refused(/cannot be read \(ENOTDIR\)/, 'STORE_UNAVAILABLE'));
});

test("a stale temporary file of a start that was cut off is in nobody's way", async (t) => {
  const { open, options } = await testAuthority(t);
  for (const name of ['master.key.tmp', 'ca.pem.tmp']) {
    await writeFile(join(options.dataDir, name), 'half');
    await chmod(join(options.dataDir, name), 0o444);
  }
  await open();
  assert.deepEqual((await readdir(options.dataDir)).sort(), ['ca.pem', 'master.key']);
});

test('the allow-list is what the store says', async (t) => {
  const { open } = await testAuthority(t);
  const { active } = await open({ certificates: { active: async () => [{ serial: 'A1', hostId: 'one' }] } });
  assert.equal(active.size, 1);
  assert.equal(active.hostOf('0a1'), 'one');
});

test('agents are certified, but not for the key of the server or of the CA', async (t) => {
  const { open, clock } = await testAuthority(t);
  const authority = await open();
  const { installationId } = authority;
  const issue = (spki: Buffer) => authority.ca.issueAgent({ spki, hostId: randomUUID(), installationId, clock });
  const spkiIn = (pem: string) => spkiOf(new X509Certificate(pem).publicKey);
  await assert.rejects(issue(spkiIn(authority.serverTls().cert)), refused(/the server's own/, 'CSR_INVALID'));
  await assert.rejects(issue(spkiIn(authority.caPem)), refused(/the CA's own/, 'CSR_INVALID'));
  const free = await authority.ca.issueServer({ publicHosts: [], clock });
  const issued = await issue(spkiOf(createPublicKey(free.keyPem)));
  assert.equal(new X509Certificate(issued.certPem).verify(new X509Certificate(authority.caPem).publicKey), true);
});

test('a CA near its end is warned of, and one past it issues nothing', async (t) => {
  const { open, clock, logged } = await testAuthority(t);
  const { ca } = await open();
  clock.set(ca.notAfter.getTime() - 100.5 * 24 * 60 * 60_000);
  await open();
  assert.match(logged.at(-1) ?? '', /the certificate authority expires soon, in 100 days: rotate it/);
  clock.set(ca.notAfter.getTime());
  await assert.rejects(open(), refused(/the CA expired on /, 'CERT_EXPIRED'));
});
