/** Changes of stacks over a host made up for it: one at a time, and each end written down. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { Secrets } from '../../../../server/authority/secrets.ts';
import { Revisions } from '../../../../server/stacks/revisions.ts';
import { Stacks } from '../../../../server/stacks/stacks.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type Answer, FakeHost } from '../routes/fake-host.ts';
import { aHost, openTestStore } from '../store/fixture.ts';

const CONTENT = { compose: 'services: {web: {image: nginx}}\n', env: { TOKEN: 'hunter2' } };

async function fixture(t: TestContext, answers: Record<string, Answer>) {
  const { store, clock } = await openTestStore(t);
  const link = new FakeHost(answers);
  await store.hosts.insert(aHost(link.hostId, 'shed'));
  const secrets = new Secrets(async () => Buffer.alloc(32, 7));
  const revisions = new Revisions({ store, secrets, clock });
  const stacks = new Stacks({ revisions, clock: new FakeClock(clock.now()), log: pino({ level: 'silent' }) });
  const target = { link, stack: 'web' };
  const options = { by: 'ann', signal: new AbortController().signal };
  const states = async () =>
    (await store.stackRevisions.all({ hostId: link.hostId, stack: 'web' })).map((r) => r.state);
  return { link, stacks, target, options, states, revisions };
}

/** A host that begins a change, and goes on until the test ends it. */
const begins: Answer = ({ stream }) => {
  stream.itemList = [{ step: 'up', line: 'Container web-1  Started' }];
  return { compose: '2.26.1' };
};
const ends: Answer = (asked) => {
  asked.stream.trailer.resolve({});
  return begins(asked);
};

test('a deployment is a revision; what is deployed again is a new one of the same content', async (t) => {
  const { link, stacks, target, options, states } = await fixture(t, { 'stack.deploy': ends });
  const running = await stacks.deploy(target, CONTENT, { ...options, pull: true });
  const lines = [];
  for await (const { line } of running.progress()) lines.push(line);
  assert.deepEqual([lines, (await running.done).number], [['Container web-1  Started'], 1]);
  const again = await stacks.repeat(target, { action: 'rollback', number: 1 }, options);
  assert.deepEqual([(await again.finish()).source, await states()], [1, ['deployed', 'deployed']]);
  const [first, second] = link.asked.map(({ params }) => params);
  assert.deepEqual(
    [first?.['compose'], first?.['env'], first?.['pull'], second?.['env'], second?.['pull']],
    [CONTENT.compose, CONTENT.env, true, CONTENT.env, false],
  );
  await assert.rejects(stacks.repeat(target, { action: 'rollback', number: 9 }, options), { code: 'NOT_FOUND' });
});

test('one change of a stack at a time, until the other has ended, well or not', async (t) => {
  const { link, stacks, target, options, states } = await fixture(t, { 'stack.deploy': begins, 'stack.stop': ends });
  const running = await stacks.deploy(target, CONTENT, options);
  const second = stacks.act(target, 'stop', { ...options, by: 'bob' });
  await assert.rejects(second, { code: 'CONFLICT', message: /being changed: stack\.deploy by ann since 2030-01-01/ });
  await await stacks.act({ ...target, stack: 'other' }, 'stop', options).catch((error) => error);
  link.asked[0]?.stream.interrupt(new FairleadError('DOCKER_ERROR', 'no space'));
  await assert.rejects(running.finish(), { code: 'DOCKER_ERROR' });
  assert.deepEqual(await states(), ['failed']);
  await (await stacks.act(target, 'stop', options)).finish();
});

test('changes of many stacks take turns at their host, which takes four; who leaves while it waits leaves nothing', async (t) => {
  const { link, stacks, target, options, revisions } = await fixture(t, { 'stack.deploy': begins });
  const deploy = (stack: string, by: string, more = {}) =>
    stacks.deploy({ ...target, stack }, CONTENT, { ...options, by, ...more });
  for (const stack of ['a', 'b', 'c']) await deploy(stack, 'ann');
  const waiting = deploy('d', 'ann');
  await deploy('e', 'bob');
  const leaving = new AbortController();
  const left = deploy('f', 'cat', { signal: leaving.signal });
  leaving.abort(new FairleadError('CANCELLED', 'gone'));
  await assert.rejects(left, { code: 'CANCELLED' });
  assert.equal(link.asked.length, 4);
  link.asked[0]?.stream.trailer.resolve({});
  await waiting;
  assert.equal(link.asked.at(-1)?.params['stack'], 'd');
  assert.deepEqual((await revisions.latest(link.hostId)).map(({ stack, state }) => `${stack} ${state}`).sort(), [
    'a deployed',
    'b deploying',
    'c deploying',
    'd deploying',
    'e deploying',
    'f failed',
  ]);
});

test('what a host refuses leaves no revision; of one that is lost nobody knows', async (t) => {
  const answers = { 'stack.deploy': () => Promise.reject(new FairleadError('UNSUPPORTED', 'no Compose')) as unknown };
  const { link, stacks, target, options, states } = await fixture(t, answers);
  await assert.rejects(stacks.deploy(target, CONTENT, options), { code: 'UNSUPPORTED' });
  await assert.rejects(stacks.deploy(target, { ...CONTENT, env: { PATH: 'x' } }, options), { code: 'VALIDATION' });
  assert.deepEqual(await states(), []);
  link.answers['stack.deploy'] = begins;
  const running = await stacks.deploy(target, CONTENT, options);
  link.asked.at(-1)?.stream.interrupt(new FairleadError('STREAM_INTERRUPTED', 'the session ended'));
  await assert.rejects(running.done, { code: 'STREAM_INTERRUPTED' });
  assert.deepEqual(await states(), ['interrupted']);
  const { changeId } = link.asked.at(-1)?.params ?? {};
  link.answers['stack.status'] = () => ({ count: 0, change: { id: changeId, kind: 'stack.deploy', state: 'done' } });
  await stacks.status(target, options.signal);
  assert.deepEqual(await states(), ['deployed']);
});

test('a stack of others can be acted upon without its file; one that nobody has is not there', async (t) => {
  const { link, stacks, target, options } = await fixture(t, { 'stack.stop': ends, 'stack.remove': ends });
  link.answers['stack.status'] = ({ stream }) => {
    stream.itemList = [{ Id: 'c1', State: 'running' }];
    return { count: 1 };
  };
  await (await stacks.act(target, 'stop', options)).finish();
  const { compose } = link.asked.at(-1)?.params ?? {};
  assert.equal(compose, undefined);
  await assert.rejects(stacks.pull(target, options), { code: 'NOT_FOUND', message: /deployed by Fairlead/ });
  link.answers['stack.status'] = () => ({ count: 0 });
  await assert.rejects(stacks.remove(target, { volumes: true }, options), { code: 'NOT_FOUND' });
});

test('a reader that leaves ends the change, and a removed stack takes its revisions along', async (t) => {
  const { link, stacks, target, options, states } = await fixture(t, { 'stack.deploy': begins, 'stack.remove': ends });
  const running = await stacks.deploy(target, CONTENT, options);
  for await (const _line of running.progress()) break;
  assert.equal(link.asked[0]?.stream.resetWith?.code, 'CANCELLED');
  await assert.rejects(running.done, { code: 'CANCELLED' });
  assert.deepEqual(await states(), ['failed']);
  await (await stacks.remove(target, { volumes: true }, options)).finish();
  assert.deepEqual([link.asked.at(-1)?.params['volumes'], await states()], [true, []]);
});
