/** What is in volumes: listed, given out and taken in. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { before, describe, test } from 'node:test';
import { isFairleadError } from '../../../../shared/errors.ts';
import * as kinds from '../../../../shared/messages/volume-content.ts';
import { dockerApi } from '../../../support/docker.ts';
import { fileCleanup } from '../../../support/tmp.ts';
import { contentOf, linesOf, tarOf, testVolume, volumeName } from '../../../support/volumes.ts';
import { type Agent, anAgent, coded, ENTRIES, helpersOf } from './volume-agent.ts';

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
});
