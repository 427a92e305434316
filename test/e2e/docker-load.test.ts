/** Much at once, and much of one thing, through the docker CLI: nothing is lost, and who is killed disturbs nobody. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { before, test } from 'node:test';
import { dockerApi, TEST_IMAGE, testContainer } from '../support/docker.ts';
import { programs, runClient, type Target, throughMesh } from '../support/docker-client.ts';
import { launchCommand } from '../support/launcher.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const FILE_BYTES = 128 * 1024 * 1024;
const BLOCK = randomBytes(4 * 1024 * 1024);
const shared = fileCleanup();
let server: Server;
let cli: string;
let target: Target;

before(async () => {
  [cli = ''] = await programs('docker');
  server = await startServer(shared);
  await addHost(shared, server, 'shop');
  target = await throughMesh(shared, server, 'shop');
});

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}

test('a file of 128 MiB is the same when it was copied into a container and out again', async (t) => {
  const { name } = await testContainer(t);
  const dir = await tempDir(t, 'big');
  const file = join(dir, 'file');
  function* blocks(): Generator<Buffer> {
    for (let bytes = 0; bytes < FILE_BYTES; bytes += BLOCK.byteLength) yield BLOCK;
  }
  await pipeline(Readable.from(blocks()), createWriteStream(file));
  const sum = await sha256(file);
  const options = { timeoutMs: 120_000 };
  assert.equal((await runClient(t, target, [cli, 'cp', file, `${name}:/tmp/file`], options)).code, 0);
  await rm(file);
  assert.equal((await runClient(t, target, [cli, 'cp', `${name}:/tmp/file`, file], options)).code, 0);
  assert.equal(await sha256(file), sum);
});

test('an image with a layer of 64 MiB goes from save to load and is the same; a small one goes through a pipe', async (t) => {
  const image = `fl-test-${randomBytes(6).toString('hex')}`;
  defer(t, () => dockerApi('DELETE', `/images/${image}:1?force=1`));
  const { id } = await testContainer(t, { cmd: ['dd', 'if=/dev/urandom', 'of=/noise', 'bs=1M', 'count=64'] });
  await dockerApi('POST', `/containers/${id}/wait`);
  const made = await dockerApi('POST', `/commit?container=${id}&repo=${image}&tag=1`, {});
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const before = (await dockerApi('GET', `/images/${image}:1/json`)).body;
  const dir = await tempDir(t, 'image');
  const saved = await runClient(t, target, [cli, 'save', '-o', join(dir, 'tar'), `${image}:1`], { timeoutMs: 120_000 });
  assert.equal(saved.code, 0, saved.stderr);
  // Without the image Docker must take all of it from the tar; a layer that is not what its digest says it refuses.
  await dockerApi('DELETE', `/images/${image}:1`);
  const loaded = await runClient(t, target, [cli, 'load', '-i', join(dir, 'tar')], { timeoutMs: 120_000 });
  assert.equal(loaded.code, 0, loaded.stderr);
  const after = (await dockerApi('GET', `/images/${image}:1/json`)).body;
  assert.deepEqual([after.Id, after.RootFS], [before.Id, before.RootFS]);
  const again = await runClient(t, target, [
    'bash',
    '-c',
    `set -o pipefail; '${cli}' save ${TEST_IMAGE} | '${cli}' load`,
  ]);
  assert.match(again.stdout, /Loaded image/, again.stderr);
});

test('of 50 logs that are followed at once each has all its lines, and one whose client is killed ends alone', async (t) => {
  const cmd = ['sh', '-c', 'for i in $(seq 2000); do echo line $i; done; trap "exit 0" TERM; sleep 1000 & wait'];
  const { name } = await testContainer(t, { cmd });
  const expected = Array.from({ length: 2000 }, (_, index) => `line ${index + 1}\n`).join('');
  const tails = Array.from({ length: 50 }, () =>
    launchCommand(t, cli, ['logs', '-f', name], { env: target, input: '' }),
  );
  const [first, ...others] = tails;
  await first?.kill();
  for (const tail of others) {
    await waitFor('all lines', () => tail.stdout === expected, {
      timeoutMs: 30_000,
      context: () => `${tail.stdout.length} of ${expected.length} characters, ${tail.stderr}`,
      failed: () => (tail.exit === undefined ? undefined : 'it ended'),
    });
  }
  await dockerApi('POST', `/containers/${name}/stop`);
  for (const tail of others) assert.equal((await within(10_000, 'the end', tail.exited)).code, 0);
});

test('of 20 terminals at once each echoes its own, and one whose client is killed ends alone', async (t) => {
  const { name } = await testContainer(t);
  const shells = Array.from({ length: 20 }, (_, index) => {
    const command = `'${cli}' exec -it -e N=${index} ${name} sh`;
    return launchCommand(t, 'script', ['-qfec', command, '/dev/null'], { env: target });
  });
  const types = async (line: string, shown: (index: number) => string) => {
    for (const shell of shells) if (shell.exit === undefined) shell.stdin.write(`${line}\n`);
    for (const [index, shell] of shells.entries()) {
      if (shell.exit === undefined) await shell.waitForOutput(new RegExp(shown(index)), 30_000);
    }
  };
  await types('echo "I am <$N>"', (index) => `I am <${index}>`);
  await shells[0]?.kill();
  await types('echo "still <$N>"', (index) => `still <${index}>`);
  await types('exit 3', () => 'exit 3');
  for (const shell of shells.slice(1)) assert.equal((await within(10_000, 'the end', shell.exited)).code, 3);
});
