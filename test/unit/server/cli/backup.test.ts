/** `backup` and `restore` on the command line: a file that is whole or not there, and words for whatever goes wrong. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { before, type TestContext, test } from 'node:test';
import { newHeader } from '../../../../server/backup/header.ts';
import { newManifest, writeContent } from '../../../../server/backup/manifest.ts';
import { sealStream } from '../../../../server/backup/sealed-stream.ts';
import { tempDir } from '../../../support/tmp.ts';
import { type FakeApi, fakeApi, type Identity, makeIdentity, problem, runAgainst, type Seen } from './fixtures.ts';

const ROUTE = 'POST /api/v1/backup';
const PASSPHRASE = 'correct horse';
const SNAPSHOT = '2030-01-01T00:00:00.000Z';
let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

/** What a server would send for the key in the request. */
async function sealed({ body }: Seen): Promise<Buffer> {
  const { key, salt, ...cost } = body as { key: string; salt: string; log2N: number; r: number; p: number };
  const store = Buffer.alloc(200_000, 1);
  const sha256 = createHash('sha256').update(store).digest('hex');
  const manifest = newManifest({
    ...{ version: '0.1.0', schemaVersion: 1, createdAt: SNAPSHOT, createdBy: 'admin', installationId: 'i' },
    ...{ caFingerprint: 'sha256:00', caSeal: 'master-key' },
    parts: [{ name: 'fairlead.db', size: store.length, sha256 }],
  });
  const header = newHeader({ ...cost, salt: Buffer.from(salt, 'base64') });
  return Buffer.concat(
    await Array.fromAsync(
      sealStream(
        Buffer.from(key, 'base64'),
        header,
        writeContent(manifest, () => [store]),
      ),
    ),
  );
}

interface Setup {
  server: FakeApi;
  out: string;
  dir: string;
  args: string[];
}

async function setup(
  t: TestContext,
  send: (file: Buffer, response: ServerResponse) => void = (file, response) => void response.end(file),
): Promise<Setup> {
  const server = await fakeApi(t, identity);
  server.on(ROUTE, (seen, response) => void sealed(seen).then((file) => send(file, response)));
  const dir = join(await tempDir(t, 'cli'), 'backups');
  await mkdir(dir);
  const secret = join(dir, '..', 'passphrase');
  await writeFile(secret, `${PASSPHRASE}\n`);
  const out = join(dir, 'b');
  return { server, out, dir, args: ['backup', '--out', out, '--passphrase-file', secret] };
}

test('the file is written whole, checked, and private; the passphrase stays here', async (t) => {
  const { server, out, dir, args } = await setup(t);
  // A run that was killed has left it behind.
  await writeFile(`${out}.tmp`, 'remains');
  const { code, out: said, err } = await runAgainst(server, [...args, '--json']);
  assert.equal(code, 0, err);
  assert.deepEqual(await readdir(dir), ['b']);
  assert.equal((await stat(out)).mode & 0o777, 0o600);
  const file = await readFile(out);
  const { manifest, ...shown } = JSON.parse(said);
  const sha256 = createHash('sha256').update(file).digest('hex');
  assert.deepEqual(shown, { file: out, bytes: file.length, sha256, verified: true });
  assert.equal(manifest.createdAt, SNAPSHOT);
  const sent = JSON.stringify(server.requests);
  assert.ok(!sent.includes(PASSPHRASE) && !sent.includes(Buffer.from(PASSPHRASE).toString('base64')));
  const salts = server.requests.map(({ body }) => (body as { salt?: string } | undefined)?.salt).filter(Boolean);

  const text = await runAgainst(server, [...args, '--force']);
  assert.match(text.out, /Snapshot of: +2030-01-01T00:00:00.000Z\n.*Verified: +yes/s);
  const again = server.requests.at(-1)?.body as { salt: string };
  assert.notEqual(again.salt, salts[0]);
  const check = await runAgainst(server, ['backup', '--verify', out, ...args.slice(3)]);
  assert.equal(check.code, 0, check.err);
  assert.match(check.out, /Verified: +yes/);
});

test('a file that is there is not overwritten, and the server is not even asked', async (t) => {
  const { server, out, args } = await setup(t);
  await writeFile(out, 'an older backup');
  const { code, err } = await runAgainst(server, args);
  assert.equal(code, 1);
  assert.match(err, /is there already: --force overwrites it\n$/);
  assert.equal(await readFile(out, 'utf8'), 'an older backup');
  assert.ok(!server.requests.some(({ method }) => method === 'POST'));
});

test('what is cut off, damaged or refused leaves the older file and nothing else', async (t) => {
  const cases: [what: string, send: (file: Buffer, response: ServerResponse) => void, error: RegExp][] = [
    [
      'a connection that breaks',
      (file, response) => {
        response.setHeader('content-length', file.length);
        response.write(file.subarray(0, 100_000), () => response.destroy());
      },
      /the answer broke off/,
    ],
    ['an end that comes too early', (file, response) => void response.end(file.subarray(0, 100_000)), /cut off/],
    [
      'a bit that was flipped',
      (file, response) => {
        file[150_000] = (file[150_000] ?? 0) ^ 1;
        response.end(file);
      },
      /damaged/,
    ],
    [
      'a refusal',
      (_file, response) => problem(response, 409, 'CONFLICT', 'another backup is being made'),
      /another backup is being made \(CONFLICT\)/,
    ],
  ];
  for (const [what, send, error] of cases) {
    const { server, out, dir, args } = await setup(t, send);
    await writeFile(out, 'an older backup');
    const { code, err } = await runAgainst(server, [...args, '--force']);
    assert.equal(code, 1, what);
    assert.match(err, error, what);
    assert.equal(err.trim().split('\n').length, 1, err);
    assert.deepEqual(await readdir(dir), ['b'], what);
    assert.equal(await readFile(out, 'utf8'), 'an older backup', what);
  }
});

test('a signal takes what was written with it', async (t) => {
  const { server, dir, args } = await setup(t, (file, response) => void response.write(file.subarray(0, 100_000)));
  const { fakeIo } = await import('./fixtures.ts');
  const io = fakeIo({});
  const running = runAgainst(server, args, { io });
  const { waitFor } = await import('../../../support/wait.ts');
  await waitFor('the file to be begun', async () => (await readdir(dir)).includes('b.tmp'));
  io.kill();
  assert.deepEqual(await readdir(dir), []);
  assert.ok(running);
});

test('bad usage is told with 2, an unusable passphrase or place with 1', async (t) => {
  const { server, out, dir, args } = await setup(t);
  const empty = join(dir, '..', 'empty');
  await writeFile(empty, '\n');
  const cases: [args: string[], code: number, error: RegExp][] = [
    [['backup', '--passphrase-file', empty], 2, /--out FILE/],
    [['backup', '--out', out], 2, /--passphrase-file FILE/],
    [['backup', '--out', out, '--passphrase-file', empty], 1, /there is no passphrase in/],
    [['backup', '--out', out, '--passphrase-file', join(dir, 'none')], 1, /cannot read the passphrase file/],
    [['backup', '--out', join(dir, 'no', 'b'), ...args.slice(3)], 1, /cannot write .*ENOENT/],
    [['restore'], 2, /missing required argument/],
    [['restore', out, ...args.slice(3)], 2, /--data-dir DIR/],
    [['restore', out, '--data-dir', join(dir, 'data')], 2, /--passphrase-file FILE/],
    [['restore', out, '--data-dir', join(dir, 'data'), ...args.slice(3)], 1, /there is no file/],
  ];
  for (const [line, code, error] of cases) {
    const ended = await runAgainst(server, line);
    assert.equal(ended.code, code, line.join(' '));
    assert.match(ended.err, error);
  }
  assert.deepEqual(await readdir(dir), []);
  const piped = Readable.from([Buffer.from(`${PASSPHRASE}\n`)]);
  const { code, err } = await runAgainst(server, ['backup', '--out', out, '--passphrase-file', '-', '--no-verify'], {
    input: piped,
  });
  assert.equal(code, 0, err);
  const byEnvironment = { FAIRLEAD_PASSPHRASE_FILE: join(dir, '..', 'passphrase') };
  assert.equal((await runAgainst(server, ['backup', '--verify', out], { env: byEnvironment })).code, 0);
});
