/** `release` and `agent release`: keys and signatures offline, and what is uploaded of a build. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { runCli } from '../../../../server/cli/program.ts';
import { testRelease, writeBuild } from '../../../support/releases.ts';
import { tempDir } from '../../../support/tmp.ts';
import { fakeApi, fakeIo, type Identity, makeIdentity, runAgainst } from './fixtures.ts';

let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

async function offline(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const io = fakeIo({});
  const code = await runCli(args, io);
  for (const stream of [io.stdout, io.stderr]) await new Promise((flushed) => stream.write('', flushed));
  return { code, out: io.out(), err: io.err() };
}

async function built(t: TestContext) {
  const dir = await tempDir(t, 'signing');
  const root = join(dir, 'agent-files');
  const [x64, arm64] = [testRelease({ bytes: 5_000 }), testRelease({ bytes: 6_000, arch: 'arm64' })];
  await writeBuild(root, x64);
  await writeBuild(root, arm64);
  const key = join(dir, 'release.key');
  const ok = await offline('release', 'keygen', '--out', key);
  assert.equal(ok.code, 0, ok.err);
  const sign = (...more: string[]) => offline('release', 'sign', root, '--key', key, ...more);
  const verify = (...more: string[]) => offline('release', 'verify', root, '--release-key', `${key}.pub`, ...more);
  return { dir, root, key, sign, verify, x64, sig: join(root, 'linux/x64/fairlead-agent.sig') };
}

test('what was built with a sequence is signed with that, or a higher one', async (t) => {
  const { root, sign } = await built(t);
  for (const arch of ['x64', 'arm64']) {
    const file = join(root, 'linux', arch, 'fairlead-agent.json');
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), sequence: 7 }));
  }
  assert.match(
    (await sign('--sequence', '6')).err,
    /was built with the sequence 7: it cannot be signed with a lower one/,
  );
  assert.match((await sign()).out, /sequence 7/);
  assert.match((await sign('--sequence', '9', '--downgrade')).out, /sequence 9/);
});

test('a key is made once, for its owner alone, and signs what was built', async (t) => {
  const { root, key, sign, verify, sig } = await built(t);
  assert.equal((await stat(key)).mode & 0o777, 0o600);
  const again = await offline('release', 'keygen', '--out', key);
  assert.equal(again.code, 1);
  assert.match(again.err, /is there already and is not overwritten/);
  const other = `${key}.other`;
  await writeFile(`${other}.pub`, 'the key that agents were built with');
  const overIt = await offline('release', 'keygen', '--out', other);
  assert.equal(overIt.code, 1);
  assert.match(overIt.err, /other\.pub is there already and is not overwritten/);
  assert.equal(await readFile(`${other}.pub`, 'utf8'), 'the key that agents were built with');
  assert.equal(existsSync(other), false);
  assert.match((await verify()).err, /is not signed/);
  const bare = await sign();
  assert.equal(bare.code, 2);
  assert.match(bare.err, /a sequence is needed/);
  const signed = await sign('--sequence', '3');
  assert.equal(signed.code, 0, signed.err);
  assert.match(signed.out, /^linux\/arm64: 0\.2\.0, sequence 3, signed by [0-9a-f]{16}\nlinux\/x64/);
  assert.equal((await verify()).code, 0);
  const before = await stat(sig);
  assert.equal((await sign('--sequence', '3')).code, 0);
  assert.equal((await stat(sig)).ino, before.ino);
  assert.match((await sign('--sequence', '2')).err, /signed already, with the sequence 3/);
  assert.equal((await sign('--sequence', '3', '--downgrade')).code, 1);
  assert.equal((await sign('--sequence', '4', '--downgrade')).code, 0);
  assert.match((await verify()).out, /also over newer versions/);
  await writeFile(join(root, 'linux/x64/fairlead-agent'), 'something else');
  assert.match((await sign('--sequence', '5')).err, /is not what was built.*RELEASE_INVALID/);
  assert.equal(JSON.parse(await readFile(join(root, 'linux/arm64/fairlead-agent.sig'), 'utf8')).sequence, 4);
  assert.match((await verify()).err, /RELEASE_INVALID/);
});

test('a key under a passphrase opens by it alone, and another key does not vouch', async (t) => {
  const { dir, root, sign, verify } = await built(t);
  const passphrase = join(dir, 'passphrase');
  await writeFile(passphrase, 'correct horse\n');
  const key = join(dir, 'sealed.key');
  assert.equal((await offline('release', 'keygen', '--out', key, '--passphrase-file', passphrase)).code, 0);
  assert.match(await readFile(key, 'utf8'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  const by = (...more: string[]) => offline('release', 'sign', root, '--key', key, '--sequence', '1', ...more);
  assert.match((await by()).err, /--passphrase-file/);
  await writeFile(join(dir, 'wrong'), 'wrong');
  assert.match((await by('--passphrase-file', join(dir, 'wrong'))).err, /may be wrong/);
  assert.equal(existsSync(join(root, 'linux/x64/fairlead-agent.sig')), false);
  assert.equal((await by('--passphrase-file', passphrase)).code, 0);
  assert.match((await verify()).err, /is not trusted.*RELEASE_INVALID/);
  assert.equal((await verify('--release-key', `${key}.pub`)).code, 0);
  assert.equal((await sign('--sequence', '0')).code, 2);
  assert.match(
    (await offline('release', 'sign', dir, '--key', join(dir, 'release.key'), '--sequence', '1')).err,
    /there is no fairlead-agent.json/,
  );
});

test('programs are told in JSON of keys, signatures and what they hold for', async (t) => {
  const { dir, key, sign, verify, x64 } = await built(t);
  const other = join(dir, 'other.key');
  const made = JSON.parse((await offline('release', 'keygen', '--out', other, '--json')).out);
  assert.match(made.keyId, /^[0-9a-f]{16}$/);
  assert.deepEqual(made, { keyId: made.keyId, file: other, publicFile: `${other}.pub` });
  const signed = JSON.parse((await sign('--sequence', '3', '--json')).out);
  const { keyId } = signed[0];
  assert.deepEqual(
    signed.map(({ os, arch, version, sequence }: Record<string, unknown>) => [os, arch, version, sequence]),
    [
      ['linux', 'arm64', x64.signed.version, 3],
      ['linux', 'x64', x64.signed.version, 3],
    ],
  );
  assert.match(
    (await offline('release', 'verify', join(dir, 'agent-files'), '--release-key', `${key}.pub`)).out,
    new RegExp(keyId),
  );
  assert.deepEqual(JSON.parse((await verify('--json')).out), signed);
});

test('what is no plain file is refused, and neither waited for nor read without end', async (t) => {
  const { root, sign, verify } = await built(t);
  await sign('--sequence', '3');
  const files = ['fairlead-agent', 'fairlead-agent.gz', 'fairlead-agent.json', 'fairlead-agent.sig'];
  for (const file of files.map((name) => join(root, 'linux/x64', name))) {
    await rename(file, `${file}.kept`);
    const makers = [() => mkdir(file), () => symlink('/dev/zero', file), () => execFileSync('mkfifo', [file])];
    for (const make of makers) {
      await make();
      const { code, err } = await verify();
      assert.equal(code, 1, err);
      assert.match(err, /^fairlead: \S+ is no plain file\n$/);
      await rm(file, { recursive: true });
    }
    await rename(`${file}.kept`, file);
  }
  assert.equal((await verify()).code, 0);
});

test('what is added is checked first, and only what is not there yet is uploaded', async (t) => {
  const { root, key, sign, x64 } = await built(t);
  const server = await fakeApi(t, identity);
  const add = (...more: string[]) => runAgainst(server, ['agent', 'release', 'add', root, ...more]);
  assert.match((await add()).err, /is not signed/);
  await sign('--sequence', '3');
  const file = (arch: string, storedAt: string | null) => ({ os: 'linux', arch, storedAt });
  const release = { version: '0.2.0', sequence: 3, state: 'incomplete', signatures: 'unchecked' };
  server.on('POST /api/v1/agent-releases', () => ({
    ...{ ...release, files: [file('arm64', '2030-01-01T00:00:00Z'), file('x64', null)] },
  }));
  const uploads: number[] = [];
  server.on('PUT /api/v1/agent-releases/3/linux/x64', () => {
    uploads.push(1);
    return { ...release, state: 'ready', files: [] };
  });
  const added = await add('--release-key', `${key}.pub`);
  assert.equal(added.code, 0, added.err);
  assert.equal(added.out, '0.2.0 (3) is ready; its signatures are checked by agents alone.\n');
  assert.match(added.err, /^linux\/x64: \d/);
  assert.equal(uploads.length, 1);
  const { files } = (server.requests.find(({ method }) => method === 'POST') ?? assert.fail()).body as {
    files: { arch: string }[];
  };
  assert.deepEqual(
    files.map(({ arch }) => arch),
    ['arm64', 'x64'],
  );
  await writeFile(join(root, 'linux/x64/fairlead-agent.gz'), x64.compressed.subarray(0, 4_000));
  const broken = await add();
  assert.equal(broken.code, 1);
  assert.equal(server.requests.filter(({ method }) => method !== 'GET').length, 2);
});

test('the help of an upgrade names its time once', async () => {
  const { out } = await offline('agent', 'upgrade', '--help');
  assert.match(out, /how long to wait \(default: 30m\)\n/);
});

test('hosts are upgraded by name, and each failure is told', async (t) => {
  const server = await fakeApi(t, identity);
  const view = { host: { id: 'h1', name: 'nas' }, from: '0.1.0', to: '0.2.0', sequence: 3 };
  server.on('POST /api/v1/hosts/nas/upgrade', () => ({ ...view, state: 'offered' }));
  const one = await runAgainst(server, ['agent', 'upgrade', 'nas', '--to', '0.2.0']);
  assert.deepEqual([one.code, one.out], [0, 'nas: 0.1.0 to 0.2.0, offered\n']);
  assert.deepEqual(server.requests.at(-1)?.body, { version: '0.2.0' });
  const two = await runAgainst(server, ['agent', 'upgrade', 'nas', 'none']);
  assert.equal(two.code, 1);
  assert.match(two.err, /none: .*NOT_FOUND/);
  assert.equal((await runAgainst(server, ['agent', 'upgrade'])).code, 2);
  const upgrade = { able: true, reason: null, wished: { version: '0.2.0', sequence: 3 }, from: '0.1.0' };
  const times = {
    wishedAt: null,
    changedAt: null,
    endedAt: '2030-01-01T00:00:00Z',
    receivedBytes: null,
    totalBytes: null,
  };
  const error = { code: 'TIMEOUT', detail: 'it did not connect' };
  server.on('GET /api/v1/hosts/nas/upgrade', () => ({ ...upgrade, ...times, state: 'failed', error, rollout: null }));
  const waited = await runAgainst(server, ['agent', 'upgrade', 'nas', '--wait']);
  assert.equal(waited.code, 1);
  assert.match(waited.err, /it did not connect \(TIMEOUT\)/);
  server.on('DELETE /api/v1/hosts/nas/upgrade', (_seen, response) => void response.writeHead(204).end());
  assert.equal((await runAgainst(server, ['agent', 'upgrade', 'nas', '--cancel'])).out, 'nas: taken back\n');
});

test('hosts with all of several tags are upgraded, once somebody said yes', async (t) => {
  const server = await fakeApi(t, identity);
  const queries: string[][] = [];
  server.on('GET /api/v1/hosts', ({ url }) => {
    queries.push(url.searchParams.getAll('tag'));
    return { items: [{ name: 'nas', kind: 'native', state: 'online' }] };
  });
  server.on('POST /api/v1/hosts/nas/upgrade', () => ({
    ...{ host: { id: 'h1', name: 'nas' }, from: '0.1.0', to: '0.2.0', sequence: 3, state: 'offered' },
  }));
  const args = ['agent', 'upgrade', '--tag', 'lab', '--tag', 'eu'];
  const asked = await runAgainst(server, args);
  assert.equal(asked.code, 2);
  assert.match(
    asked.err,
    /This will replace the agent of 1 host\. There is no terminal to ask at: give --yes to do it/,
  );
  assert.equal(server.requests.filter(({ method }) => method === 'POST').length, 0);
  const done = await runAgainst(server, [...args, '--yes']);
  assert.deepEqual([done.code, done.out], [0, 'nas: 0.1.0 to 0.2.0, offered\n']);
  assert.deepEqual(queries, [
    ['lab', 'eu'],
    ['lab', 'eu'],
  ]);
});

test('a release is removed by its sequence, and by nothing else', async (t) => {
  const server = await fakeApi(t, identity);
  server.on('DELETE /api/v1/agent-releases/3', (_seen, response) => void response.writeHead(204).end());
  const rm = (sequence: string) => runAgainst(server, ['agent', 'release', 'rm', sequence]);
  assert.equal((await rm('3')).out, 'Removed the release 3.\n');
  const wrong = await rm('abc');
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /must be a whole number from 1 up/);
  assert.equal(server.requests.filter(({ method }) => method === 'DELETE').length, 1);
});
