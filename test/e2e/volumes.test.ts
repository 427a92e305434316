/** What is in volumes, over real processes: looked at, downloaded, uploaded, and carried from host to host. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { HELPER_LABEL } from '../../agent/docker/volume-helper.ts';
import { runCliHere } from '../support/cli.ts';
import { dockerApi } from '../support/docker.ts';
import type { Launched } from '../support/launcher.ts';
import type { Link } from '../support/link-emulator.ts';
import { linkAgent } from '../support/linked-agent.ts';
import {
  addHost,
  type Enrolled,
  enroll,
  restartServer,
  type Server,
  startAgent,
  startServer,
  waitForState,
} from '../support/mesh.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { contentOf, type Entry, linesOf, tarOf, testVolume, volumeName } from '../support/volumes.ts';
import { waitFor } from '../support/wait.ts';

const run = promisify(execFile);
const shared = fileCleanup();
let server: Server;
let shed: Enrolled & { process: Launched };
/** Behind a link of its own. */
let barn: Enrolled & { process: Launched };
let link: Link;
/** Of the link, in bytes a second … */
const RATE = 6_000_000;
/** … where a copy is met half-way, and where it must not get much further. */
const SLOW_RATE = 2_000_000;
const SLOWEST_RATE = 400_000;

before(async () => {
  server = await startServer(shared);
  const [host, agent] = await Promise.all([addHost(shared, server, 'shed'), enroll(shared, server, 'barn')]);
  shed = host;
  link = await linkAgent(shared, server, agent, { rate: RATE, delayMs: 2 });
  barn = { ...agent, process: startAgent(shared, agent) };
  await waitForState(server, 'barn', 'online');
});

const cli = (...args: string[]) =>
  runCliHere(args, { env: { FAIRLEAD_SERVER: server.runtime.apiUrl, FAIRLEAD_API_TOKEN: server.adminToken } });

/** Slows the link until the end of the test, if it is not made faster before. */
async function slow(t: TestContext, rate: number): Promise<void> {
  defer(t, () => link.set({ rate: RATE }));
  await link.set({ rate });
}

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

const MIB = 1024 * 1024;
const RANDOM: readonly Entry[] = [
  { name: '.', type: 'directory', mode: 0o710, uid: 999, gid: 999 },
  ...Array.from({ length: 8 }, (_, n) => ({
    name: `f${n}`,
    mode: 0o640,
    uid: n,
    gid: 7,
    content: randomBytes(2 * MIB),
  })),
];

const transfer = async (id: string) => (await server.api.get(`/api/v1/volume-transfers/${id}`)).body;

async function begin(from: string, to: string, more = {}) {
  const [source, target] = [from, to].map((end) => ({ host: end.split(':')[0], volume: end.split(':')[1] }));
  return await server.api.post('/api/v1/volume-transfers', { from: source, to: target, ...more });
}

/** What agents keep of transfers that are under way. */
async function tars(): Promise<string[]> {
  const all = await Promise.all(
    [shed, barn].map(({ stateDir }) => readdir(join(stateDir, 'volumes')).catch(() => [] as string[])),
  );
  return all.flat().filter((name) => name.endsWith('.tar'));
}

/** Waits for the source's helper and the target's part of a copy that failed: both go a moment after its end is told. */
async function keptIsGone(): Promise<void> {
  await waitFor('the end of what was kept', async () => (await tars()).length === 0 && (await helpersOf(shed)) === 0);
}

async function nothingIsLeft(): Promise<void> {
  assert.deepEqual([await helpersOf(shed), await helpersOf(barn), await tars()], [0, 0, []]);
}

test('a volume is copied to another host, with a line of progress', async (t) => {
  const source = await testVolume(t, RANDOM.slice(0, 2));
  const target = volumeName(t);
  const copied = await cli('volume', 'copy', `shed:${source}`, `barn:${target}`);
  assert.equal(copied.exit.code, 0, copied.transcript());
  assert.match(copied.stdout, new RegExp(`^barn:${target} \\(2\\.0 MiB\\)\n$`));
  assert.match(copied.stderr, /running: /);
  assert.deepEqual(await contentOf(t, target), await contentOf(t, source));
  assert.equal((await dockerApi('GET', `/volumes/${target}`)).body.Labels.kept, 'yes');
  const again = await cli('volume', 'copy', `shed:${source}`, `barn:${target}`);
  assert.equal(again.exit.code, 1);
  assert.match(again.stderr, /not empty.*CONFLICT/s);
  const back = await cli('volume', 'copy', `barn:${target}`, `shed:${source}`, '--replace', '--json');
  assert.equal(JSON.parse(back.stdout).state, 'done', back.transcript());
  const listed = JSON.parse((await cli('volume', 'transfers', 'ls', '--json')).stdout);
  assert.deepEqual(
    listed.map(({ state }: { state: string }) => state),
    ['done', 'failed', 'done'],
  );
  const { items } = (await server.api.get('/api/v1/audit?limit=50')).body;
  const actions = items.map(({ action }: { action: string }) => action);
  for (const action of ['volume.transfer', 'volume.transfer.done', 'volume.transfer.failed']) {
    assert.ok(actions.includes(action), `${action} is not in the log`);
  }
  await nothingIsLeft();
});

test('a copy goes on after its target was killed, and after its server was', async (t) => {
  const source = await testVolume(t, RANDOM);
  const target = volumeName(t);
  await slow(t, SLOW_RATE);
  const { status, body, text } = await begin(`shed:${source}`, `barn:${target}`);
  assert.equal(status, 202, text);
  const { id } = body;
  const reached = (bytes: number) =>
    waitFor(`${bytes} bytes`, async () => (await transfer(id)).bytes >= bytes, { everyMs: 50 });
  await reached(3 * MIB);
  await barn.process.kill();
  await waitFor('the wait', async () => (await transfer(id)).state === 'waiting');
  const kept = (await transfer(id)).bytes;
  barn = { ...barn, process: startAgent(shared, barn) };
  await reached(kept + 3 * MIB);
  assert.equal((await dockerApi('GET', `/volumes/${target}`)).status, 404, 'touched before it is whole');
  server = await restartServer(shared, server, 'kill');
  await link.set({ rate: RATE });
  const ended = await waitFor(
    'the end',
    async () => {
      const now = await transfer(id);
      return now.endedAt !== null && now;
    },
    { context: () => server.process.transcript() },
  );
  assert.equal(ended.state, 'done', JSON.stringify(ended));
  assert.ok(ended.resumes >= 2 && ended.restarts === 0, JSON.stringify(ended));
  assert.ok(ended.bytes > 16 * MIB);
  // What was on its way at a cut is carried twice; anew it would have been three times as much, or two at least.
  assert.ok(ended.carriedBytes < 1.6 * ended.bytes, JSON.stringify(ended));
  assert.deepEqual(await contentOf(t, target), await contentOf(t, source));
  await nothingIsLeft();
});

test('a copy that is cancelled leaves nothing, and no second one goes into its target meanwhile', async (t) => {
  const source = await testVolume(t, RANDOM);
  const target = volumeName(t);
  await slow(t, SLOWEST_RATE);
  const { body } = await begin(`shed:${source}`, `barn:${target}`);
  const { bytes, ...rest } = await waitFor('some bytes, or its end', async () => {
    const now = await transfer(body.id);
    return (now.bytes > 0 || now.endedAt !== null) && now;
  });
  assert.ok(bytes > 0, JSON.stringify(rest));
  assert.equal((await begin(`shed:${source}`, `barn:${target}`)).body.code, 'CONFLICT');
  const cancelled = await cli('volume', 'transfers', 'cancel', body.id.slice(0, 8));
  assert.equal(cancelled.exit.code, 0, cancelled.transcript());
  assert.equal((await transfer(body.id)).state, 'cancelled');
  assert.equal((await dockerApi('GET', `/volumes/${target}`)).status, 404);
  await keptIsGone();
  await nothingIsLeft();
  assert.equal((await cli('volume', 'transfers', 'cancel', body.id)).exit.code, 1);
});

test('a disk that fills up while a volume comes ends the copy: told, the target as it was, and nothing kept', async (t) => {
  const spools = join(barn.stateDir, 'volumes');
  await mkdir(spools, { recursive: true, mode: 0o700 });
  await run('mount', ['-t', 'tmpfs', '-o', 'size=320m,mode=700', 'tmpfs', spools]);
  defer(t, () => run('umount', ['-l', spools]));
  const [source, target] = [await testVolume(t, RANDOM), await testVolume(t, RANDOM.slice(0, 2))];
  const before = await contentOf(t, target);
  await slow(t, SLOWEST_RATE);
  const { body } = await begin(`shed:${source}`, `barn:${target}`, { replace: true });
  await waitFor('some bytes', async () => (await transfer(body.id)).bytes > 0, { everyMs: 5 });
  await assert.rejects(run('dd', ['if=/dev/zero', `of=${join(spools, 'of-others')}`, 'bs=1M']), /No space left/);
  const ended = await waitFor('the end', async () => {
    const now = await transfer(body.id);
    return now.endedAt !== null && now;
  });
  assert.deepEqual([ended.state, ended.error?.code], ['failed', 'CONFLICT'], JSON.stringify(ended));
  assert.match(ended.error.detail, /the disk under the agent's state directory (?:is full|has no room)/);
  assert.ok(ended.bytes < 16 * MIB, 'it was not in the middle');
  assert.deepEqual(await contentOf(t, target), before);
  await keptIsGone();
  await rm(join(spools, 'of-others'));
  await link.set({ rate: RATE });
  const again = await cli('volume', 'copy', `shed:${source}`, `barn:${target}`, '--replace');
  assert.equal(again.exit.code, 0, again.transcript());
  assert.deepEqual(await contentOf(t, target), await contentOf(t, source));
  await nothingIsLeft();
});

test('both hosts must be in the scope of whoever copies', async (t) => {
  const source = await testVolume(t);
  const token = async (hosts: string[]) => {
    const { body } = await server.api.post('/api/v1/api-tokens', { name: 'ci', role: 'operator', hosts });
    return { token: body.token as string };
  };
  const narrow = await token(['shed']);
  const ends = (host: string) => ({ from: { host: 'shed', volume: source }, to: { host, volume: volumeName(t) } });
  const refused = await server.api.post('/api/v1/volume-transfers', ends('barn'), narrow);
  assert.deepEqual([refused.status, refused.body.code], [404, 'HOST_NOT_FOUND']);
  const own = await server.api.post('/api/v1/volume-transfers', ends('shed'), narrow);
  assert.equal(own.status, 202, own.text);
  const progress = await server.api.get(`/api/v1/volume-transfers/${own.body.id}/progress`, narrow);
  assert.equal(JSON.parse(progress.text.trim().split('\n').at(-1) ?? '').state, 'done', progress.text);
  const seen = (await server.api.get('/api/v1/volume-transfers', narrow)).body.items;
  assert.deepEqual(
    seen.map(({ id }: { id: string }) => id),
    [own.body.id],
  );
  const { items } = (await server.api.get('/api/v1/volume-transfers')).body;
  const other = items.find(({ to }: { to: { host: string } }) => to.host === 'barn');
  assert.equal((await server.api.get(`/api/v1/volume-transfers/${other.id}`, narrow)).status, 404);
  assert.equal((await server.api.delete(`/api/v1/volume-transfers/${other.id}`, narrow)).status, 404);
  await nothingIsLeft();
});
