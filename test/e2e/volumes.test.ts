/** What is in volumes, over real processes: looked at, downloaded, uploaded, and carried from host to host. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { HELPER_LABEL } from '../../agent/docker/volume-helper.ts';
import { runCliHere } from '../support/cli.ts';
import { dockerApi } from '../support/docker.ts';
import type { Launched } from '../support/launcher.ts';
import { addHost, type Enrolled, type Server, startServer } from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { contentOf, linesOf, tarOf, testVolume, volumeName } from '../support/volumes.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;
let shed: Enrolled & { process: Launched };

before(async () => {
  server = await startServer(shared);
  shed = await addHost(shared, server, 'shed');
});

const cli = (...args: string[]) =>
  runCliHere(args, { env: { FAIRLEAD_SERVER: server.runtime.apiUrl, FAIRLEAD_API_TOKEN: server.adminToken } });

async function helpersOf({ hostId }: Enrolled): Promise<number> {
  const filters = encodeURIComponent(JSON.stringify({ label: [`${HELPER_LABEL}=${hostId}`] }));
  const lists = ['containers', 'images'].map((what) => dockerApi('GET', `/${what}/json?all=1&filters=${filters}`));
  return (await Promise.all(lists)).reduce((sum, { body }) => sum + body.length, 0);
}

test('a volume is listed, downloaded and uploaded by the CLI', async (t) => {
  const volume = await testVolume(t, [
    { name: 'a', mode: 0o4750, uid: 1000, content: Buffer.from('hello') },
    { name: 'big', content: randomBytes(5_000_000) },
    { name: 'dir', type: 'directory', mode: 0o1777 },
    { name: 'dir/to', type: 'symlink', linkname: '../a' },
  ]);
  const listed = await cli('volume', 'browse', 'shed', volume);
  assert.match(listed.stdout, /-rwsr-x--- +1000:0 +5 B +2020-09-13 12:26:40 +a\n/, listed.transcript());
  assert.match(listed.stdout, /drwxrwxrwt +0:0 /);
  assert.match((await cli('volume', 'browse', 'shed', volume, 'dir')).stdout, /to -> \.\.\/a/);
  const file = join(await tempDir(t, 'tars'), 'v.tar');
  const exported = await cli('volume', 'export', 'shed', volume, '--out', file);
  assert.equal(exported.exit.code, 0, exported.transcript());
  const other = volumeName(t);
  const imported = await cli('volume', 'import', 'shed', other, file);
  assert.equal(imported.stdout, `${other} (new)\n`, imported.transcript());
  assert.deepEqual((await contentOf(t, other)).slice(1), (await contentOf(t, volume)).slice(1));
  assert.equal((await linesOf(await readFile(file))).length, 5);
  const bad = join(await tempDir(t, 'tars'), 'bad.tar');
  await writeFile(bad, Buffer.alloc(100_000, 'no tar'));
  const refused = await cli('volume', 'import', 'shed', volumeName(t), bad);
  assert.equal(refused.exit.code, 1, refused.transcript());
  const missing = await cli('volume', 'export', 'shed', 'fl-test-none', '--out', `${file}.2`);
  assert.match(missing.stderr, /there is no volume .*NOT_FOUND/);
  assert.equal(await helpersOf(shed), 0);
});

test('a client that leaves its upload or download ends both, and leaves nothing', async (t) => {
  const volume = volumeName(t);
  const tar = await tarOf([{ name: 'x', content: randomBytes(8_000_000) }]);
  const headers = { authorization: `Bearer ${server.adminToken}`, 'content-type': 'application/x-tar' };
  const url = new URL(`/api/v1/hosts/shed/volumes/${volume}/archive`, server.runtime.apiUrl);
  const upload = https.request(url, { method: 'PUT', ca: server.caPem, agent: false, headers });
  upload.on('error', () => undefined); // the end that this test brings about
  upload.write(tar.subarray(0, 4_000_000));
  await waitFor('the volume', async () => (await dockerApi('GET', `/volumes/${volume}`)).status === 200);
  await waitFor('its helper', async () => (await helpersOf(shed)) > 0);
  upload.destroy();
  const isClean = async () =>
    (await dockerApi('GET', `/volumes/${volume}`)).status === 404 && (await helpersOf(shed)) === 0;
  await waitFor('the end of the import', isClean);
  const full = await testVolume(t, [{ name: 'x', content: randomBytes(8_000_000) }]);
  const download = await server.api.open('GET', `/api/v1/hosts/shed/volumes/${full}/archive`);
  assert.ok((await helpersOf(shed)) > 0);
  download.destroy();
  await waitFor('the end of the export', async () => (await helpersOf(shed)) === 0);
});
