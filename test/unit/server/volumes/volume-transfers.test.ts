import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { Audit } from '../../../../server/audit/audit.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { openStore } from '../../../../server/store/store.ts';
import { VolumeTransfers } from '../../../../server/volumes/volume-transfers.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type Cleanup, defer, tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { aHost, HOST_IDS } from '../store/fixture.ts';
import { VolumeHost } from './volume-hosts.ts';

const ANN = { name: 'ann' };
const DAY_MS = 24 * 60 * 60_000;
const log = pino({ level: 'silent' });
const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

async function setUp(t: Cleanup, online: 'online' | 'offline' = 'online') {
  const clock = new FakeClock();
  const store = await openStore({ dataDir: join(await tempDir(t, 'transfers'), 'data'), clock });
  defer(t, () => store.close());
  const audit = new Audit({ store, clock, log });
  const registry = new HostRegistry();
  const [source, target] = [new VolumeHost(HOST_IDS[0]), new VolumeHost(HOST_IDS[1])];
  await store.hosts.insert(aHost(source.id, 'source'));
  await store.hosts.insert(aHost(target.id, 'target'));
  source.tar = randomBytes(100_000);
  if (online === 'online') for (const host of [source, target]) registry.attach(host.link);
  const open = async () => await VolumeTransfers.open({ store, registry, audit, clock, log, random: () => 0 });
  const transfers = await open();
  defer(t, () => transfers.close());
  const request = (volume: string, more = {}) => ({
    ...{ from: { hostId: source.id, volume: 'data' }, to: { hostId: target.id, volume } },
    ...{ replaces: false, forced: false, ...more },
  });
  const until = (id: string, state: string, of = transfers) =>
    waitFor(`the transfer to be ${state}`, async () => {
      const now = await of.get(id);
      return now.state === state && now;
    });
  const actions = async () => (await store.audit.list({ limit: 50 }, {})).items.map(({ action }) => action);
  return { clock, store, registry, source, target, transfers, open, request, until, actions };
}

test('a volume is carried, put in place, and written down', async (t) => {
  const { transfers, request, until, source, target, actions } = await setUp(t);
  const { id, state } = await transfers.create(request('copy'), ANN);
  assert.ok(state === 'queued' || state === 'running');
  const done = await until(id, 'done');
  assert.ok(target.placed?.equals(source.tar));
  assert.deepEqual([done.bytes, done.carried, done.resumes], [100_000, 100_000, 0]);
  assert.ok(done.endedAt !== undefined);
  await waitFor('the row', async () => (await actions()).includes('volume.transfer.done'));
});

test('a cut transfer waits, and goes on where it stopped', async (t) => {
  const { transfers, request, until, source, target, registry, clock } = await setUp(t);
  target.cutAt = 40_000;
  const { id } = await transfers.create(request('copy'), ANN);
  const waiting = await until(id, 'waiting');
  assert.deepEqual([waiting.code, waiting.step, target.placed], ['STREAM_INTERRUPTED', undefined, undefined]);
  const kept = target.spool.length;
  assert.ok(kept >= 40_000 && kept < 100_000);
  registry.attach(target.connect());
  assert.equal((await transfers.get(id)).state, 'waiting', 'not at once: whatever cut it may go on');
  clock.advance(1_000);
  const done = await until(id, 'done');
  assert.ok(target.placed?.equals(source.tar));
  assert.equal(done.resumes, 1);
  const asked = source.asked
    .filter(({ kind }) => kind === 'volume.transfer.send')
    .map(({ params }) => params['offset']);
  assert.deepEqual(asked, [0, kept]);
});

test('a source that changed begins anew once, and then it is an error that says what to do', async (t) => {
  const { transfers, request, until, source, target, registry, clock } = await setUp(t);
  const cut = async (id: string) => {
    target.cutAt = 40_000;
    await until(id, 'waiting');
    source.tar = randomBytes(100_000);
    registry.attach(target.connect());
  };
  target.cutAt = 40_000;
  const { id } = await transfers.create(request('copy'), ANN);
  await until(id, 'waiting');
  source.tar = randomBytes(100_000);
  registry.attach(target.connect());
  target.cutAt = 40_000;
  clock.advance(1_000);
  await waitFor('the note', async () => (await transfers.get(id)).note !== undefined);
  await cut(id);
  clock.advance(2_000);
  const failed = await until(id, 'failed');
  assert.equal(failed.code, 'CONFLICT');
  assert.match(failed.detail ?? '', /changed.*stop the containers/);
  assert.equal(failed.restarts, 1);
  assert.equal(target.placed, undefined);
  assert.equal(target.asked.at(-1)?.kind, 'volume.transfer.discard');
});

test('a refusal is the end; what passes by itself is not', async (t) => {
  const { transfers, request, until, target, clock } = await setUp(t);
  target.failing.set('volume.transfer.prepare', new FairleadError('CONFLICT', 'it is there already'));
  const refused = await until((await transfers.create(request('a'), ANN)).id, 'failed');
  assert.deepEqual([refused.code, refused.detail], ['CONFLICT', 'it is there already']);
  target.failing.set('volume.transfer.apply', new FairleadError('DOCKER_UNREACHABLE', 'Docker is stopped'));
  const { id } = await transfers.create(request('b'), ANN);
  await until(id, 'waiting');
  clock.advance(1_000);
  await until(id, 'done');
});

test('a transfer waits for hosts that are not there, for a day', async (t) => {
  const { transfers, request, until, source, target, registry, clock, store } = await setUp(t, 'offline');
  const [late, never] = [await transfers.create(request('a'), ANN), await transfers.create(request('b'), ANN)];
  registry.attach(source.link);
  assert.equal((await transfers.get(late.id)).state, 'queued');
  await transfers.cancel(never.id);
  assert.equal((await transfers.get(never.id)).state, 'cancelled');
  registry.attach(target.link);
  await until(late.id, 'done');
  target.drop('STREAM_INTERRUPTED');
  await waitFor('the host to be gone', () => registry.link(target.id) === undefined);
  const old = await transfers.create(request('c'), ANN);
  clock.advance(DAY_MS + 120_000);
  assert.equal((await until(old.id, 'failed')).code, 'TIMEOUT');
  const gone = await transfers.create(request('d'), ANN);
  await store.hosts.delete(target.id);
  clock.advance(120_000);
  assert.equal((await until(gone.id, 'failed')).code, 'HOST_NOT_FOUND');
});

test('a server that comes back goes on with what it was doing', async (t) => {
  const { transfers, request, until, source, target, open, registry, clock } = await setUp(t);
  target.cutAt = 40_000;
  const { id } = await transfers.create(request('copy'), ANN);
  await until(id, 'waiting');
  await transfers.close();
  registry.attach(target.connect());
  const next = await open();
  defer(t, () => next.close());
  clock.advance(60_000);
  const done = await until(id, 'done', next);
  assert.ok(target.placed?.equals(source.tar));
  assert.ok(done.resumes === 1 && done.carried < 200_000);
});

test('two of a host run at once, and one goes into a volume', async (t) => {
  const { transfers, request, until, source } = await setUp(t);
  const hold = Promise.withResolvers<void>();
  source.held = hold.promise;
  const ids = [];
  for (const volume of ['a', 'b', 'c']) ids.push((await transfers.create(request(volume), ANN)).id);
  await assert.rejects(transfers.create(request('c'), ANN), coded('CONFLICT'));
  const same = { ...request('data'), to: { hostId: source.id, volume: 'data' } };
  await assert.rejects(transfers.create(same, ANN), coded('VALIDATION'));
  const states = await Promise.all(ids.map(async (id) => (await transfers.get(id)).state));
  assert.deepEqual(states, ['running', 'running', 'queued']);
  await transfers.cancel(ids[0] ?? '');
  await until(ids[2] ?? '', 'running');
  await assert.rejects(transfers.cancel(ids[0] ?? ''), coded('CONFLICT'));
  await assert.rejects(transfers.get('none'), coded('NOT_FOUND'));
  hold.resolve();
});

test('hosts that hang in the middle do not hold up others for ever', async (t) => {
  const { transfers, request, until, source, clock } = await setUp(t);
  const hold = Promise.withResolvers<void>();
  source.held = hold.promise;
  const { id } = await transfers.create(request('copy'), ANN);
  await waitFor('the attempt', async () => (await transfers.get(id)).total !== undefined);
  clock.advance(9 * 60_000);
  assert.equal((await transfers.get(id)).state, 'running');
  clock.advance(2 * 60_000);
  assert.equal((await until(id, 'waiting')).code, 'TIMEOUT');
  source.held = Promise.resolve();
  clock.advance(2_000);
  await until(id, 'done');
});

test('what a server finds that was away for a day is over, and nothing is asked of its hosts', async (t) => {
  const { transfers, request, open, registry, source, target, clock, actions } = await setUp(t, 'offline');
  const { id } = await transfers.create(request('copy', { replaces: true }), ANN);
  await transfers.close();
  clock.advance(DAY_MS);
  for (const host of [source, target]) registry.attach(host.link);
  const next = await open();
  defer(t, () => next.close());
  const { state, code } = await next.get(id);
  assert.deepEqual([state, code], ['failed', 'TIMEOUT']);
  assert.ok((await actions()).includes('volume.transfer.failed'));
  assert.deepEqual([source.asked, target.asked.map(({ kind }) => kind)], [[], ['volume.transfer.discard']]);
});
