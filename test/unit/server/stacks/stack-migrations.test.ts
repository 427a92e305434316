/** Migrations of stacks over hosts made up for it: whatever step fails, all is as before; what a stopped server left is seen to. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import type { HostLink } from '../../../../server/hosts/host-link.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { StackMigrations, type StackMigrationsDeps } from '../../../../server/stacks/stack-migrations.ts';
import { Stacks } from '../../../../server/stacks/stacks.ts';
import type { StackMigrationRow } from '../../../../server/store/stack-migrations.ts';
import type { Clock } from '../../../../shared/clock.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';
import { waitFor } from '../../../support/wait.ts';
import { type Answer, type Asked, FakeHost } from '../routes/fake-host.ts';
import { openTestStore } from '../store/fixture.ts';

const LABELS = { 'com.docker.compose.project': 'web', 'com.docker.compose.service': 'app' };
const CONTAINER = {
  Id: 'c1',
  Names: ['/web-app-1'],
  Image: 'app:1',
  ImageID: 'sha256:1',
  State: 'running',
  Labels: LABELS,
};
const VOLUME = { Name: 'web_data', Driver: 'local', Labels: { ...LABELS, 'com.docker.compose.volume': 'data' } };

/** Waits of seconds are over at once, and all others never. */
function hurriedClock(): Clock {
  let now = Date.UTC(2030, 0, 1);
  const setTimeout: Clock['setTimeout'] = (callback, ms) => {
    if (ms > 5_000) return { cancel: () => undefined };
    const timer = setImmediate(() => {
      now += ms;
      callback();
    });
    return { cancel: () => clearImmediate(timer) };
  };
  return { now: () => now, monotonic: () => now, setTimeout, setInterval: setTimeout } as Clock;
}

const items =
  (...list: object[]): Answer =>
  ({ stream }) => {
    stream.itemList = list;
    return { count: list.length };
  };
const notThere = () => Promise.reject(new FairleadError('NOT_FOUND', 'there is none'));
const fails = () => Promise.reject(new FairleadError('DOCKER_ERROR', 'no space left'));

async function fixture(t: TestContext, left: readonly StackMigrationRow[] = []) {
  const { store } = await openTestStore(t);
  for (const row of left) await store.stackMigrations.insert(row);
  const does: string[] = [];
  const deployed: unknown[] = [];
  const change = (end: string): Answer => {
    return ({ kind, stream, params }) => {
      const scales = Object.entries(params['services'] ?? {}).map(([name, count]) => ` ${name}=${count}`);
      does.push(`${end}: ${kind}${params['volumes'] === true ? ' with volumes' : ''}${scales.join(',')}`);
      if (kind === 'stack.deploy') deployed.push(params['state']);
      stream.trailer.resolve({});
      return { compose: '2' };
    };
  };
  const noted = (say: (asked: Asked) => string): Answer => {
    return (asked) => {
      does.push(say(asked));
      return {};
    };
  };
  const status = items(CONTAINER);
  const source: Record<string, Answer> = {
    'stack.status': status,
    ...{ 'volume.list': items(VOLUME), 'network.list': items() },
    'image.save': ({ stream }) => {
      stream.output.end('a tar');
      return {};
    },
  };
  const target: Record<string, Answer> = {
    'stack.status': status,
    ...{ 'container.list': items(), 'volume.list': items(), 'volume.inspect': notThere, 'image.inspect': notThere },
    'volume.create': noted(({ params }) => `target: volume.create ${JSON.stringify(params['config'])}`),
    'volume.remove': noted(({ params }) => `target: volume.remove ${params['id']}`),
    'image.load': async ({ stream }) => {
      does.push(`target: image.load ${await stream.input.reduce((all: string, some) => all + some, '')}`);
      return { loaded: [] };
    },
  };
  for (const verb of ['stop', 'start', 'scale', 'remove', 'deploy']) {
    source[`stack.${verb}`] = change('source');
    target[`stack.${verb}`] = change('target');
  }
  const link = (hostId: string, answers: Record<string, Answer>): HostLink => {
    const describe = () => ({ arch: 'x64', capabilities: STREAM_KINDS.map(({ name }) => name) });
    return Object.assign(new FakeHost(answers), { hostId, describe }) as unknown as HostLink;
  };
  const compose = { text: 'services: {app: {image: "app:1"}}\n' };
  const registry = new HostRegistry();
  const ends = { from: { link: link('one', source), stack: 'web' }, to: { link: link('two', target), stack: 'web' } };
  const row = { stack: 'web', number: 3, state: 'deployed' };
  const revisions = {
    current: async ({ hostId }: { hostId: string }) => (hostId === 'one' ? row : undefined),
    latest: async (hostId: string) => (hostId === 'one' ? [row] : []),
    content: async () => ({ compose: compose.text, env: {} }),
    begin: async (_key: unknown, _content: unknown, about: object) => ({ ...row, ...about, number: 1, id: 'r' }),
    finish: async (revision: object) => revision,
    withdraw: async () => undefined,
    remove: async () => undefined,
    settle: async () => undefined,
  };
  const clock = hurriedClock();
  const log = pino({ level: 'silent' });
  const transfer = { state: 'done', bytes: 5, code: undefined as string | undefined, detail: 'it broke' };
  const audit: string[] = [];
  const deps = {
    ...{ store, registry, clock, log },
    stacks: new Stacks({ revisions: revisions as never, clock, log }),
    transfers: {
      create: async () => ({ id: 't1' }),
      get: async () => transfer,
      unfinishedInto: () => [],
    },
    audit: {
      recordOrLog: async ({ action, result }: { action: string; result: string }) => audit.push(`${action} ${result}`),
    },
  } as unknown as StackMigrationsDeps;
  const migrations = await StackMigrations.open(deps);
  t.after(() => migrations.close());
  const attach = () => {
    for (const { link: each } of [ends.from, ends.to]) registry.attach(each);
  };
  const leaving = new AbortController();
  const begin = (keep = false) => migrations.begin(ends, { keep }, { name: 'ann' }, leaving.signal);
  return { compose, does, deployed, source, target, transfer, audit, attach, begin, leaving, store };
}

test('a stack is stopped, carried, deployed, looked at, and then removed, unless it is to stay', async (t) => {
  const { does, audit, attach, begin, store } = await fixture(t);
  attach();
  const running = await begin();
  await assert.rejects(begin(), { code: 'CONFLICT', message: /stack\.migrate by ann/ });
  assert.deepEqual(await running.done, {
    ...{ revision: 1, stack: 'web', kept: false },
    ...{ volumes: ['web_data'], images: ['app:1'] },
  });
  const made = { Name: 'web_data', Driver: 'local', Labels: VOLUME.Labels };
  // The first stop is the question whether the target has Compose.
  assert.deepEqual(does, [
    ...['target: stack.stop', 'source: stack.stop', 'target: image.load a tar'],
    ...[`target: volume.create ${JSON.stringify(made)}`, 'target: stack.deploy', 'source: stack.remove with volumes'],
  ]);
  assert.equal(audit.at(-1), 'stack.migrate.done ok');
  assert.deepEqual(await store.stackMigrations.all(), []);
  await (await begin(true)).done;
  assert.equal(does.at(-1), 'target: stack.deploy');
});

/** Containers of services beside the one that runs. */
const of = (service: string, State: string, more: object = {}) => ({
  ...{ ...CONTAINER, State, Labels: { ...LABELS, 'com.docker.compose.service': service, ...more } },
});

test('what ran runs at the target in as many containers, and what stood still stands still there', async (t) => {
  const { source, target, deployed, does, attach, begin, compose } = await fixture(t);
  attach();
  compose.text = 'services: {app: {image: "app:1"}, job: {image: "app:1"}, unused: {image: "app:1"}}\n';
  const there = [of('app', 'running'), of('app', 'running'), of('app', 'exited'), of('job', 'exited')];
  source['stack.status'] = items(...there, of('job', 'running', { 'com.docker.compose.oneoff': 'True' }));
  target['stack.status'] = items(...there);
  await (await begin(true)).done;
  assert.deepEqual(deployed, [{ app: { containers: 3, runs: true }, job: { containers: 1, runs: false } }]);
  target['stack.status'] = items(of('app', 'running'));
  await assert.rejects((await begin()).done, { code: 'TIMEOUT', message: /do not run.*: app \(1 of 2\)/ });
  assert.equal(does.at(-1), 'source: stack.scale app=3');
  source['stack.status'] = items(of('app', 'exited'));
  await (await begin()).done;
  assert.deepEqual(deployed.at(-1), { app: { containers: 1, runs: false } });
  source['stack.status'] = items(CONTAINER, of('old', 'running'));
  await assert.rejects(begin(), { code: 'CONFLICT', message: /service old is not in the file/ });
});

test('who leaves once it has begun ends nothing; who leaves before has touched nothing', async (t) => {
  const { does, attach, begin, leaving, audit } = await fixture(t);
  attach();
  const running = await begin();
  const progress = running.progress(leaving.signal);
  await progress.next();
  leaving.abort(new FairleadError('CANCELLED', 'the client has left'));
  await progress.return(undefined);
  assert.equal((await running.done).stack, 'web');
  assert.equal(audit.at(-1), 'stack.migrate.done ok');
  const before = does.length;
  await assert.rejects(begin(), { code: 'CANCELLED' });
  assert.ok(!does.slice(before).some((each) => each.startsWith('source:')));
});

for (const step of ['stop', 'images', 'volumes', 'deploy', 'verify'] as const) {
  test(`what fails at ${step} is taken back`, async (t) => {
    const { does, source, target, transfer, audit, attach, begin, store } = await fixture(t);
    attach();
    if (step === 'stop') source['stack.stop'] = fails;
    if (step === 'images') target['image.load'] = fails;
    if (step === 'volumes') Object.assign(transfer, { state: 'failed', code: 'DOCKER_ERROR' });
    if (step === 'deploy') target['stack.deploy'] = fails;
    if (step === 'verify') target['stack.status'] = items({ ...CONTAINER, State: 'restarting' });
    const { done } = await begin();
    const message = new RegExp(`^${step} failed: .*; it was rolled back: the stack is at the source as before`);
    await assert.rejects(done, { code: step === 'verify' ? 'TIMEOUT' : 'DOCKER_ERROR', message });
    const volume = does.some((each) => each.startsWith('target: volume.create'));
    assert.equal(does.includes('target: volume.remove web_data'), volume);
    assert.equal(does.includes('target: stack.remove with volumes'), step === 'deploy' || step === 'verify');
    assert.equal(does.at(-1), 'source: stack.scale app=1');
    assert.ok(!does.some((each) => each.startsWith('source: stack.remove')));
    assert.deepEqual(audit.slice(-3), [
      `stack.migrate.${step} failed`,
      ...['stack.migrate.undo ok', 'stack.migrate.failed failed'],
    ]);
    assert.deepEqual(await store.stackMigrations.all(), []);
  });
}

test('what cannot be taken back is said; a source that cannot be removed leaves the stack at the target', async (t) => {
  const { source, target, does, attach, begin } = await fixture(t);
  attach();
  target['stack.deploy'] = fails;
  source['stack.scale'] = fails;
  const why = /could NOT be rolled back wholly.*: start the stack web at the source: no space left/;
  await assert.rejects((await begin()).done, { message: why });
  target['stack.deploy'] = source['stack.remove'] = ({ stream }) => {
    stream.trailer.resolve({});
    return { compose: '2' };
  };
  source['stack.remove'] = fails;
  await assert.rejects((await begin()).done, { message: /the stack runs at the target.*stack rm HOST web --volumes/ });
  assert.notEqual(does.at(-1), 'target: stack.remove with volumes');
});

test('all that speaks against it comes at once, and nothing is touched', async (t) => {
  const { source, target, does, attach, begin } = await fixture(t);
  attach();
  const Mounts = [
    { Type: 'bind', Source: '/srv' },
    { Type: 'volume', Name: 'others', Destination: '/o' },
  ];
  const port = { PublicPort: 80, Type: 'tcp' };
  const NetworkSettings = { Networks: { lan: {} } };
  source['stack.status'] = items({ ...CONTAINER, Mounts, NetworkSettings, Ports: [port] });
  source['volume.list'] = items({ ...VOLUME, Options: { type: 'nfs' } });
  target['volume.list'] = items(VOLUME);
  target['container.list'] = items({ ...CONTAINER, Ports: [port] });
  const error: FairleadError = await begin().then(
    () => assert.fail('it has begun'),
    (reason) => reason,
  );
  assert.equal(error.code, 'CONFLICT');
  for (const what of [
    'binds /srv',
    'volume others',
    'network lan',
    'plain local',
    'a stack web',
    '80/tcp',
    'a volume web_data',
  ]) {
    assert.ok(error.message.includes(what), `${what} is not in: ${error.message}`);
  }
  assert.deepEqual(does, []);
});

test('what a stopped server has left is taken back, or finished, once both hosts are there', async (t) => {
  const row: StackMigrationRow = {
    ...{
      id: 'm1',
      from: { hostId: 'one', stack: 'web' },
      to: { hostId: 'two', stack: 'web' },
      keeps: false,
      ran: true,
      services: { app: 2 },
    },
    ...{ step: 'volumes', volumes: ['web_data'], createdBy: 'ann', createdAt: 1 },
  };
  const verified = {
    ...row,
    id: 'm2',
    step: 'remove',
    from: { hostId: 'one', stack: 'b' },
    to: { hostId: 'two', stack: 'b' },
  };
  const { does, audit, attach, store, begin } = await fixture(t, [row, verified as StackMigrationRow]);
  await assert.rejects(begin(), { code: 'CONFLICT', message: /was interrupted/ });
  attach();
  await waitFor('the end', async () => ((await store.stackMigrations.all()).length === 0 ? true : undefined));
  assert.deepEqual(does.toSorted(), [
    ...['source: stack.remove with volumes', 'source: stack.scale app=2', 'target: volume.remove web_data'],
  ]);
  assert.deepEqual(audit.filter((each) => /done|failed/.test(each)).toSorted(), [
    ...['stack.migrate.done ok', 'stack.migrate.failed failed'],
  ]);
});
