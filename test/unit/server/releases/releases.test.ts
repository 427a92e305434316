/** Releases on the server: what is taken in, what is not, and that nothing of that stays. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import { AgentFiles } from '../../../../server/agent-files.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { Releases } from '../../../../server/releases/releases.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { keyIdOf, type ReleaseKeys } from '../../../../shared/releases/signature.ts';
import { RELEASE_KEY, type TestRelease, testRelease } from '../../../support/releases.ts';
import { tempDir } from '../../../support/tmp.ts';

const log = pino({ level: 'silent' });
const ADMIN = { name: 'admin' };
const never = new AbortController().signal;

async function opened(t: TestContext, keys: ReleaseKeys = new Map()) {
  const store = await openStore({ dataDir: join(await tempDir(t, 'releases'), 'data'), clock: systemClock });
  t.after(() => store.close());
  const open = () =>
    Releases.open({ store, audit: new Audit({ store, clock: systemClock, log }), clock: systemClock, log, keys });
  return { store, releases: await open(), open, root: join(store.dataDir, 'agent-releases') };
}

const put = (releases: Releases, { signed }: TestRelease, body: Buffer, signal = never) =>
  releases.receive(signed, Readable.from(chunked(body)), ADMIN, signal);

function* chunked(body: Buffer): Iterable<Buffer> {
  for (let i = 0; i < body.length; i += 16_384) yield body.subarray(i, i + 16_384);
}

async function actions(store: Store): Promise<string[]> {
  return (await store.audit.list({ limit: 50 })).items.map(({ action }) => action);
}

test('a release is ready once all of its executables are there, and the newest one is what new hosts get', async (t) => {
  const { store, releases, open, root } = await opened(t);
  const x64 = testRelease({ sequence: 3 });
  const arm64 = testRelease({ sequence: 3, arch: 'arm64' });
  const added = await releases.add([x64.signed, arm64.signed], ADMIN);
  assert.deepEqual([added.state, added.version, added.verified], ['incomplete', '0.2.0', false]);
  assert.throws(() => releases.chosen({}), { code: 'CONFLICT', message: /linux\/arm64, linux\/x64 is to be uploaded/ });
  assert.equal((await put(releases, x64, x64.compressed)).state, 'incomplete');
  assert.equal((await put(releases, arm64, arm64.compressed)).state, 'ready');
  assert.equal(releases.chosen({}).sequence, 3);
  assert.deepEqual(await readFile(releases.compressedPath(x64.signed)), x64.compressed);
  const files = new AgentFiles([], (platform) => releases.newestFolder(platform));
  const text = async (name: 'fairlead-agent' | 'fairlead-agent.sig' | 'fairlead-agent.sha256') => {
    const { handle } = await files.open({ os: 'linux', arch: 'x64' }, name);
    return await handle.readFile().finally(() => handle.close());
  };
  assert.deepEqual(await text('fairlead-agent'), x64.executable);
  assert.deepEqual(JSON.parse(String(await text('fairlead-agent.sig'))), x64.signed);
  assert.equal(String(await text('fairlead-agent.sha256')), `${x64.signed.sha256}  fairlead-agent\n`);
  await assert.rejects(files.open({ os: 'darwin', arch: 'x64' }, 'fairlead-agent'), { code: 'NOT_FOUND' });
  assert.deepEqual(await actions(store), ['release.upload', 'release.upload', 'release.add']);

  await mkdir(join(root, '.incoming-left'));
  await mkdir(join(root, '99', 'linux'), { recursive: true });
  await rm(releases.compressedPath(arm64.signed));
  const again = await open();
  assert.deepEqual(readdirSync(root), ['3']);
  assert.equal(again.get(3).state, 'incomplete');
  assert.equal((await put(again, arm64, arm64.compressed)).state, 'ready');
});

test('nothing is kept of what is not just what was signed', async (t) => {
  const { releases, root } = await opened(t);
  const release = testRelease();
  const { executable, compressed } = release;
  await releases.add([release.signed], ADMIN);
  const flipped = Buffer.from(executable);
  flipped[50_000] = (flipped[50_000] ?? 0) ^ 1;
  const cases: [string, Buffer, RegExp][] = [
    ['a bit flipped', gzipSync(flipped), /SHA-256/],
    ['one byte more', gzipSync(Buffer.concat([executable, Buffer.of(0)])), /more than the 100000 bytes/],
    ['one byte less', gzipSync(executable.subarray(1)), /99999 bytes, and 100000 were signed/],
    ['a bomb', gzipSync(Buffer.alloc(50_000_000)), /more than the 100000 bytes/],
    ['broken off', compressed.subarray(0, 60_000), /not all of it/],
    ['not packed', executable, /no executable packed by gzip/],
    ['nothing', Buffer.alloc(0), /not all of it/],
    ['with more behind it', Buffer.concat([gzipSync(''), Buffer.alloc(2_000_000)]), /goes on behind|more than/],
  ];
  for (const [what, body, message] of cases) {
    await assert.rejects(put(releases, release, body), { code: 'RELEASE_INVALID', message }, what);
    assert.deepEqual(readdirSync(root), [], what);
    assert.equal(releases.get(1).state, 'incomplete', what);
  }
  const leaving = new AbortController();
  const stalled = new Readable({ read: () => undefined });
  stalled.push(compressed.subarray(0, 1_000));
  const left = releases.receive(release.signed, stalled, ADMIN, leaving.signal);
  await assert.rejects(put(releases, release, compressed), { code: 'CONFLICT', message: /being uploaded already/ });
  leaving.abort(new Error('gone'));
  await assert.rejects(left, /gone/);
  assert.deepEqual(readdirSync(root), []);
  assert.equal((await put(releases, release, compressed)).state, 'ready');
});

test('sequences rise, and the same release again is no other one', async (t) => {
  const { releases } = await opened(t);
  const first = testRelease({ sequence: 5 });
  await releases.add([first.signed], ADMIN);
  assert.equal((await releases.add([first.signed], ADMIN)).sequence, 5);
  await assert.rejects(releases.add([testRelease({ sequence: 5 }).signed], ADMIN), { code: 'CONFLICT' });
  await assert.rejects(releases.add([testRelease({ sequence: 4 }).signed], ADMIN), {
    code: 'CONFLICT',
    message: /above 5/,
  });
  const other = testRelease({ sequence: 6, version: '0.3.0' });
  await assert.rejects(releases.add([first.signed, other.signed], ADMIN), { code: 'VALIDATION' });
  const twice = [other.signed, testRelease({ sequence: 6, version: '0.3.0' }).signed];
  await assert.rejects(releases.add(twice, ADMIN), { code: 'VALIDATION', message: /twice/ });
  const [one, two] = await Promise.allSettled([
    releases.add([other.signed], ADMIN),
    releases.add([other.signed], ADMIN),
  ]);
  assert.deepEqual([one.status, two.status].sort(), ['fulfilled', 'rejected']);
  assert.throws(() => releases.chosen({ version: '9.0.0' }), { code: 'NOT_FOUND' });
  assert.throws(() => releases.chosen({ sequence: 5, version: '0.3.0' }), { code: 'NOT_FOUND' });
  assert.throws(() => releases.chosen({ sequence: 7 }), { code: 'NOT_FOUND' });
  for (let sequence = 7; sequence <= 36; sequence++)
    await releases.add([testRelease({ sequence, bytes: 10 }).signed], ADMIN);
  await assert.rejects(releases.add([testRelease({ sequence: 37 }).signed], ADMIN), {
    code: 'CONFLICT',
    message: /32/,
  });
});

test('with keys, only what they have signed is added', async (t) => {
  const { releases } = await opened(t, new Map([[keyIdOf(RELEASE_KEY), RELEASE_KEY]]));
  const { privateKey } = generateKeyPairSync('ed25519');
  const foreign = testRelease({ key: privateKey });
  await assert.rejects(releases.add([foreign.signed], ADMIN), { code: 'RELEASE_INVALID', message: /not trusted/ });
  const changed = { ...testRelease().signed, bytes: 5 };
  await assert.rejects(releases.add([changed], ADMIN), { code: 'RELEASE_INVALID' });
  assert.equal((await releases.add([testRelease().signed], ADMIN)).verified, true);
});

test('a release goes with its files, unless something needs it', async (t) => {
  const { store, releases, root } = await opened(t);
  const release = testRelease();
  await releases.add([release.signed], ADMIN);
  await put(releases, release, release.compressed);
  let why: string | undefined = 'a host is to run it';
  releases.onRemoval(async () => why);
  await assert.rejects(releases.remove(1, ADMIN), { code: 'CONFLICT', message: /a host is to run it/ });
  why = undefined;
  await releases.remove(1, ADMIN);
  assert.equal(existsSync(join(root, '1')), false);
  assert.deepEqual(releases.list(), []);
  assert.equal(releases.newestFolder({ os: 'linux', arch: 'x64' }), undefined);
  await assert.rejects(releases.remove(1, ADMIN), { code: 'NOT_FOUND' });
  assert.equal((await actions(store))[0], 'release.remove');
});
