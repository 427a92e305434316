/** Volumes that go to another host: sent, received, and put in the place of what was there, or not at all. */
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { before, describe, test } from 'node:test';
import { HELPER_LABEL } from '../../../../agent/docker/volume-helper.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import * as kinds from '../../../../shared/messages/volume-content.ts';
import { dockerApi, testContainer } from '../../../support/docker.ts';
import { fileCleanup } from '../../../support/tmp.ts';
import { contentOf, tarOf, testVolume, volumeName } from '../../../support/volumes.ts';
import { waitFor } from '../../../support/wait.ts';
import { type Agent, anAgent, coded, ENTRIES, filesOf, helpersOf } from './volume-agent.ts';

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

describe('transfers of volumes, on the real Engine', () => {
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
    const spool = join(agent.directory, `${id}.tar`);
    await waitFor('some of it to be kept', async () => (await stat(spool).catch(() => undefined))?.size);
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
