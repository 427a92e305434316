import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { before, describe, test } from 'node:test';
import type { DockerEngine } from '../../../../agent/docker/engine.ts';
import { HELPER_LABEL } from '../../../../agent/docker/volume-helper.ts';
import { Volumes } from '../../../../agent/volumes/volumes.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import * as kinds from '../../../../shared/messages/volume-content.ts';
import { DOCKER_SOCKET, dockerApi, testContainer } from '../../../support/docker.ts';
import { type Cleanup, defer, fileCleanup, tempDir } from '../../../support/tmp.ts';
import { contentOf, type Entry, linesOf, tarOf, testVolume, volumeName } from '../../../support/volumes.ts';
import { engineAt, SILENT } from '../docker/fake-docker.ts';
import { type Served, serve } from './served.ts';

const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

const ENTRIES: readonly Entry[] = [
  { name: '.', type: 'directory', mode: 0o710, uid: 999, gid: 998 },
  { name: 'a', mode: 0o4750, uid: 1000, gid: 1001, content: Buffer.from('hello') },
  { name: 'big', mode: 0o600, content: randomBytes(3_000_000) },
  { name: 'dir', type: 'directory', mode: 0o1777 },
  { name: 'dir/.wh.x', mode: 0o644, content: Buffer.from('not gone') },
  { name: 'dir/deep', mode: 0o400, content: Buffer.from('x') },
  { name: 'hard', type: 'link', linkname: 'v/a', mode: 0o4750, uid: 1000, gid: 1001 },
  { name: 'pipe', type: 'fifo', mode: 0o600 },
  { name: 'soft', type: 'symlink', linkname: '../elsewhere' },
];

interface Agent {
  readonly served: Served;
  readonly docker: DockerEngine;
  readonly owner: string;
  readonly directory: string;
}

/** An agent's end with all handlers, over the real Engine. */
async function anAgent(cleanup: Cleanup, deny: string[] = []): Promise<Agent> {
  const docker = await engineAt(cleanup, DOCKER_SOCKET, undefined, { allow: [], deny });
  const owner = randomUUID();
  const directory = join(await tempDir(cleanup, 'volumes'), 'volumes');
  const volumes = new Volumes({ docker, owner, directory, log: SILENT });
  defer(cleanup, () => volumes.close());
  const served = await serve(cleanup, { docker, volumes, info: { agentVersion: '1' }, log: SILENT });
  return { served, docker, owner, directory };
}

async function helpersOf({ owner }: Agent): Promise<number> {
  const filters = encodeURIComponent(JSON.stringify({ label: [`${HELPER_LABEL}=${owner}`] }));
  const [containers, images] = await Promise.all([
    dockerApi('GET', `/containers/json?all=1&filters=${filters}`),
    dockerApi('GET', `/images/json?all=1&filters=${filters}`),
  ]);
  return containers.body.length + images.body.length;
}

const filesOf = async ({ directory }: Agent) => (await readdir(directory).catch(() => [])).toSorted();

/** What a whole transfer's sender says of the volume. */
async function sent(
  { served }: Agent,
  volume: string,
  params: { offset?: number; sha256?: string; force?: boolean } = {},
) {
  const { stream } = served.open(kinds.volumeTransferSend, { volume, offset: 0, ...params });
  const bytes = await buffer(stream.bytes);
  return { reply: await stream.reply, bytes, trailer: await stream.trailer };
}

async function received({ served }: Agent, id: string, offset: number, bytes: Buffer) {
  const { stream } = served.open(kinds.volumeTransferReceive, { id, offset });
  stream.bytes.end(bytes);
  return await stream.trailer;
}

const shaOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('what is in volumes, on the real Engine', () => {
  const cleanup = fileCleanup();
  let agent: Agent;
  let source: string;
  let content: string[];

  before(async () => {
    agent = await anAgent(cleanup);
    source = await testVolume(cleanup, ENTRIES);
    content = await contentOf(cleanup, source);
    assert.equal(content.length, ENTRIES.length);
  });

  test('browse lists one directory, and says what it left out', async () => {
    const browse = async (params: { path?: string; limit?: number; volume?: string }) => {
      const { stream } = agent.served.open(kinds.volumeBrowse, { volume: source, ...params });
      const names: string[] = [];
      for await (const { name, type, mode, size, uid, linkTarget } of stream.items()) {
        names.push([name, type, mode.toString(8), size, uid, linkTarget ?? ''].join(' ').trim());
      }
      return { names, ...(await stream.trailer) };
    };
    assert.deepEqual(await browse({}), {
      names: [
        'a file 4750 5 1000',
        'big file 600 3000000 0',
        'dir directory 1777 0 0',
        'hard link 4750 0 1000 a',
        'pipe fifo 600 0 0',
        'soft symlink 777 0 0 ../elsewhere',
      ],
      truncated: false,
    });
    assert.deepEqual((await browse({ path: 'dir' })).names, ['.wh.x file 644 8 0', 'deep file 400 1 0']);
    assert.deepEqual(await browse({ limit: 2 }), {
      names: ['a file 4750 5 1000', 'big file 600 3000000 0'],
      truncated: true,
    });
    await assert.rejects(browse({ path: 'nowhere' }), coded('NOT_FOUND'));
    await assert.rejects(browse({ volume: 'fl-test-none' }), coded('NOT_FOUND'));
    assert.equal((await dockerApi('GET', '/volumes/fl-test-none')).status, 404, 'asking made a volume');
    assert.equal(await helpersOf(agent), 0);
  });

  test('export gives all of it, or what a path names', async () => {
    const exported = async (path?: string) => {
      const { stream } = agent.served.open(
        kinds.volumeExport,
        path === undefined ? { volume: source } : { volume: source, path },
      );
      return await linesOf(await buffer(stream.bytes));
    };
    const shown = content.map((line) => line.replace(/^v\/?/, './').replace(' v/a ', ' ./a '));
    assert.deepEqual(await exported(), shown);
    const deep = (await exported('dir')).map((line) => line.split(' ')[0]);
    assert.deepEqual(deep, ['dir/', 'dir/.wh.x', 'dir/deep']);
    assert.deepEqual((await exported('a')).length, 1);
    await assert.rejects(exported('nowhere'), coded('NOT_FOUND'));
    assert.equal(await helpersOf(agent), 0);
  });

  test('a reader that leaves an export ends it, and its helper', async () => {
    const { stream, done, leave } = agent.served.open(kinds.volumeExport, { volume: source });
    await stream.reply;
    leave();
    await assert.rejects(done);
    assert.equal(await helpersOf(agent), 0);
  });

  test('import makes a volume or adds to one; a new one goes again if it fails', async (t) => {
    const tar = await tarOf([{ name: 'in/x', mode: 0o640, uid: 7, gid: 8, content: Buffer.from('x') }]);
    const imported = async (volume: string, bytes: Buffer, path?: string) => {
      const { stream } = agent.served.open(kinds.volumeImport, path === undefined ? { volume } : { volume, path });
      stream.bytes.end(bytes);
      return await stream.reply;
    };
    const volume = volumeName(t);
    assert.deepEqual(await imported(volume, tar), { created: true });
    assert.deepEqual(await imported(volume, tar, 'in'), { created: false });
    const names = (await contentOf(t, volume)).map((line) => line.split(' ').slice(0, 5).join(' '));
    assert.deepEqual(names, [
      'v/ directory 755 0 0',
      'v/in/ directory 755 0 0',
      'v/in/in/ directory 755 0 0',
      'v/in/in/x file 640 7 8',
      'v/in/x file 640 7 8',
    ]);
    const other = volumeName(t);
    await assert.rejects(imported(other, Buffer.alloc(4096, 'no tar')), isFairleadError);
    assert.equal((await dockerApi('GET', `/volumes/${other}`)).status, 404);
    assert.equal(await helpersOf(agent), 0);
  });

  test('an import that breaks off is no success', async (t) => {
    const volume = volumeName(t);
    const { stream, done, leave } = agent.served.open(kinds.volumeImport, { volume });
    stream.bytes.write((await tarOf([{ name: 'x', content: randomBytes(100_000) }])).subarray(0, 50_000));
    setTimeout(leave, 300);
    await assert.rejects(done);
    assert.equal((await dockerApi('GET', `/volumes/${volume}`)).status, 404);
    assert.equal(await helpersOf(agent), 0);
  });

  test('a transfer makes the volume as it was sent: owners, modes, links, times, labels', async (t) => {
    const [id, volume] = [randomUUID(), volumeName(t)];
    const { reply, bytes, trailer } = await sent(agent, source);
    assert.deepEqual([reply.offset, trailer], [0, { bytes: bytes.length, sha256: shaOf(bytes) }]);
    assert.deepEqual(await agent.served.call(kinds.volumeTransferPrepare, { id, volume }), {
      offset: 0,
      sha256: shaOf(Buffer.alloc(0)),
    });
    assert.deepEqual(await received(agent, id, 0, bytes), trailer);
    assert.equal((await dockerApi('GET', `/volumes/${volume}`)).status, 404, 'touched before it is whole');
    const apply = { id, volume, ...trailer, make: reply.make };
    assert.deepEqual(await agent.served.call(kinds.volumeTransferApply, apply), { created: true, replaced: false });
    assert.deepEqual(await contentOf(t, volume), content);
    assert.equal((await dockerApi('GET', `/volumes/${volume}`)).body.Labels.kept, 'yes');
    // A lost answer can be asked for again.
    assert.deepEqual(await agent.served.call(kinds.volumeTransferApply, apply), { created: true, replaced: false });
    assert.deepEqual(await filesOf(agent), [`${id}.json`]);
    await agent.served.call(kinds.volumeTransferDiscard, { id });
    assert.deepEqual(await filesOf(agent), []);
    assert.equal(await helpersOf(agent), 0);
  });

  test('a transfer goes on where it stopped, if the source is still what it was', async (t) => {
    const [id, volume] = [randomUUID(), volumeName(t)];
    const { bytes, trailer, reply } = await sent(agent, source);
    const { stream, leave } = agent.served.open(kinds.volumeTransferReceive, { id, offset: 0 });
    stream.bytes.write(bytes.subarray(0, 1_000_000));
    await new Promise((resolve) => setTimeout(resolve, 300));
    leave();
    const half = await agent.served.call(kinds.volumeTransferPrepare, { id, volume });
    assert.ok(half.offset > 0 && half.offset <= 1_000_000);
    assert.equal(half.sha256, shaOf(bytes.subarray(0, half.offset)));
    const rest = await sent(agent, source, half);
    assert.equal(rest.reply.offset, half.offset);
    assert.ok(rest.bytes.equals(bytes.subarray(half.offset)));
    assert.deepEqual(rest.trailer, trailer);
    assert.deepEqual(await received(agent, id, half.offset, rest.bytes), trailer);
    await agent.served.call(kinds.volumeTransferApply, { id, volume, ...trailer, make: reply.make });
    assert.deepEqual(await contentOf(t, volume), content);
    const other = await sent(agent, source, { offset: half.offset, sha256: shaOf(Buffer.from('other')) });
    assert.deepEqual([other.reply.offset, other.bytes.length], [0, bytes.length], 'what has changed begins anew');
    const shorter = await sent(agent, source, { offset: bytes.length + 512, sha256: half.sha256 });
    assert.equal(shorter.reply.offset, 0);
    await agent.served.call(kinds.volumeTransferDiscard, { id });
  });

  test('what was not received as it was sent is dropped, and touches nothing', async (t) => {
    const [id, volume] = [randomUUID(), volumeName(t)];
    const { bytes, reply, trailer } = await sent(agent, source);
    await received(agent, id, 0, bytes.subarray(0, -1));
    const apply = { id, volume, ...trailer, make: reply.make };
    await assert.rejects(agent.served.call(kinds.volumeTransferApply, apply), coded('STREAM_INTERRUPTED'));
    assert.equal((await dockerApi('GET', `/volumes/${volume}`)).status, 404);
    assert.deepEqual(await filesOf(agent), []);
  });

  test('a volume that is not empty is replaced only if that is asked for', async (t) => {
    const volume = await testVolume(t, [{ name: 'old', content: Buffer.from('old') }]);
    const id = randomUUID();
    const { bytes, reply, trailer } = await sent(agent, source);
    await assert.rejects(agent.served.call(kinds.volumeTransferPrepare, { id, volume }), coded('CONFLICT'));
    await received(agent, id, 0, bytes);
    const apply = { id, volume, ...trailer, make: reply.make };
    await assert.rejects(agent.served.call(kinds.volumeTransferApply, apply), coded('CONFLICT'));
    assert.equal((await contentOf(t, volume)).length, 2);
    const result = await agent.served.call(kinds.volumeTransferApply, { ...apply, replace: true });
    assert.deepEqual(result, { created: false, replaced: true });
    assert.deepEqual(await contentOf(t, volume), content);
    await agent.served.call(kinds.volumeTransferDiscard, { id });
  });

  test('a transfer that Docker cannot unpack leaves every sort of target as it was', async (t) => {
    const full = await testVolume(t, [
      { name: '.', type: 'directory', mode: 0o700, uid: 5 },
      { name: 'old', uid: 3, content: Buffer.from('old') },
    ]);
    const [empty, absent] = [await testVolume(t), volumeName(t)];
    const before = await contentOf(t, full);
    const bytes = Buffer.concat([
      (await tarOf([{ name: 'volume/new', content: Buffer.from('new') }])).subarray(0, 1024),
      Buffer.alloc(1024, 'garbage'),
    ]);
    const make = { driver: 'local', options: {}, labels: {} };
    for (const volume of [full, empty, absent]) {
      const id = randomUUID();
      await received(agent, id, 0, bytes);
      const apply = { id, volume, bytes: bytes.length, sha256: shaOf(bytes), make, replace: true };
      await assert.rejects(agent.served.call(kinds.volumeTransferApply, apply), isFairleadError);
      await agent.served.call(kinds.volumeTransferDiscard, { id });
    }
    assert.deepEqual(await contentOf(t, full), before);
    assert.deepEqual((await dockerApi('GET', `/volumes/${full}`)).body.Labels.kept, 'yes');
    assert.equal((await contentOf(t, empty)).length, 1);
    assert.equal((await dockerApi('GET', `/volumes/${absent}`)).status, 404);
    assert.deepEqual(await filesOf(agent), []);
    assert.equal(await helpersOf(agent), 0);
  });

  test('containers that use a volume are named, and forcing it has its bounds', async (t) => {
    const user = async (volume: string, start: boolean) => {
      const mount = { Type: 'volume', Source: volume, Target: '/v' };
      return await testContainer(t, { start, config: { HostConfig: { NetworkMode: 'none', Mounts: [mount] } } });
    };
    const used = await testVolume(t, [{ name: 'x', content: Buffer.from('x') }]);
    const running = await user(used, true);
    const names = (error: unknown) => isFairleadError(error, 'CONFLICT') && error.message.includes(running.name);
    await assert.rejects(sent(agent, used), names);
    assert.ok((await sent(agent, used, { force: true })).bytes.length > 0);
    const id = randomUUID();
    const prepare = (volume: string, more = {}) =>
      agent.served.call(kinds.volumeTransferPrepare, { id, volume, ...more });
    await assert.rejects(prepare(used, { replace: true, force: true }), names);
    const idle = await testVolume(t);
    await user(idle, false);
    await assert.rejects(prepare(idle), coded('CONFLICT'));
    const { bytes, reply, trailer } = await sent(agent, source);
    assert.equal((await prepare(idle, { force: true })).offset, 0);
    await received(agent, id, 0, bytes);
    await agent.served.call(kinds.volumeTransferApply, { id, volume: idle, ...trailer, make: reply.make, force: true });
    assert.deepEqual(await contentOf(t, idle), content);
  });

  test('volumes that are not plain local ones are not transferred', async (t) => {
    const volume = volumeName(t);
    await dockerApi('POST', '/volumes/create', { Name: volume, DriverOpts: { type: 'tmpfs', device: 'tmpfs' } });
    await assert.rejects(sent(agent, volume), coded('UNSUPPORTED'));
    await assert.rejects(
      agent.served.call(kinds.volumeTransferPrepare, { id: randomUUID(), volume, replace: true }),
      coded('UNSUPPORTED'),
    );
  });

  test('what a killed agent left is put right: helpers, half replaced volumes', async (t) => {
    const left = await anAgent(t);
    const volume = await testVolume(t, [{ name: 'half', content: Buffer.from('half') }]);
    const labels = { [HELPER_LABEL]: left.owner };
    await testContainer(t, { start: false, labels });
    const id = randomUUID();
    await mkdir(left.directory);
    const make = { driver: 'local', options: {}, labels: { kept: 'yes' } };
    const journal = { volume, before: 'full', make, state: 'undoable', at: 1 };
    await writeFile(join(left.directory, `${id}.json`), JSON.stringify(journal));
    await writeFile(
      join(left.directory, `${id}.old.tar`),
      await tarOf([
        { name: 'volume/', type: 'directory', mode: 0o711 },
        { name: 'volume/old', uid: 3, content: Buffer.from('old') },
      ]),
    );
    await left.served.call(kinds.volumeTransferPrepare, { id, volume, replace: true });
    assert.deepEqual(
      (await contentOf(t, volume)).map((line) => line.split(' ').slice(0, 4).join(' ')),
      ['v/ directory 711 0', 'v/old file 644 3'],
    );
    assert.equal(await helpersOf(left), 0);
    assert.deepEqual(await filesOf(left), []);
  });

  test('a host that denies what it takes to remove a helper makes none', async (t) => {
    for (const deny of ['docker:DELETE', 'docker:POST /containers/create']) {
      const strict = await anAgent(t, [deny]);
      await assert.rejects(sent(strict, source), coded('DENIED_BY_HOST'));
      await assert.rejects(
        strict.served.call(kinds.volumeTransferPrepare, { id: randomUUID(), volume: volumeName(t) }),
        coded('DENIED_BY_HOST'),
      );
      assert.equal(await helpersOf(strict), 0);
    }
  });
});
