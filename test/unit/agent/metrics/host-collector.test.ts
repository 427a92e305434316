/** The collector asks Docker seldom, looks once for all who ask at once, and does not wait for a disk that is stuck. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { HostCollector } from '../../../../agent/metrics/host-collector.ts';
import type { Reading } from '../../../../agent/metrics/reading.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { engineAt, fakeDocker } from '../docker/fake-docker.ts';

const STAYING = new AbortController().signal;

/** What has sent and received as many bytes as ms have passed since the start of its clock. */
function readingAt(clock: FakeClock): Reading {
  const monotonicMs = clock.monotonic();
  const bytes = { received: monotonicMs * 2, sent: monotonicMs };
  const interfaces = new Map([['eth0', bytes]]);
  return { monotonicMs, at: clock.now(), uptimeSeconds: 1, cpu: undefined, interfaces, levels: {} };
}

async function made(t: TestContext, info: unknown = { DockerRootDir: '/data' }) {
  let asked = 0;
  const docker = await fakeDocker(t, (_request, response) => {
    asked += 1;
    response.end(JSON.stringify(info));
  });
  const clock = new FakeClock();
  const engine = await engineAt(t, docker.socket, clock);
  const roots: (string | undefined)[] = [];
  /** Each look waits for this. */
  let gate: Promise<void> = Promise.resolve();
  const collector = new HostCollector(engine, async (_clock, root) => {
    roots.push(root);
    await gate;
    return readingAt(clock);
  });
  /** A sample; a second passes if it takes one. */
  const sample = async (since?: number) => {
    let isOver = false;
    const asking = collector.sample(since, STAYING).finally(() => {
      isOver = true;
    });
    await waitFor('the sample', () => {
      if (!isOver) clock.advance(100);
      return isOver;
    });
    return await asking;
  };
  const hold = () => {
    const held = Promise.withResolvers<void>();
    gate = held.promise;
    return () => {
      gate = Promise.resolve();
      held.resolve();
    };
  };
  return { collector, clock, roots, sample, hold, asked: () => asked };
}

test('a sample is about the time since the look that it names, or else about the next second', async (t) => {
  const { clock, roots, sample } = await made(t);
  const first = await sample();
  assert.equal(roots.length, 2);
  assert.deepEqual(first.sample.network, { receivedBytesPerSecond: 2000, sentBytesPerSecond: 1000 });
  clock.advance(30_000);
  const second = await sample(first.reading);
  assert.equal(roots.length, 3, 'one look more');
  assert.ok(second.reading > first.reading);
  await sample(999);
  assert.equal(roots.length, 5, 'two looks, since nobody knows that one');
});

test('looks are forgotten, the oldest first', async (t) => {
  const { clock, roots, sample } = await made(t);
  const { reading } = await sample();
  let last = reading;
  for (let i = 0; i < 31; i++) {
    clock.advance(1_000);
    last = (await sample(last)).reading;
  }
  const before = roots.length;
  await sample(reading + 1);
  assert.equal(roots.length, before + 1);
  await sample(reading);
  assert.equal(roots.length, before + 3);
});

test('who asks while somebody’s look is under way gets that one', async (t) => {
  const { collector, clock, roots, sample, hold } = await made(t);
  const { reading } = await sample();
  clock.advance(5_000);
  const release = hold();
  const all = [collector.sample(reading, STAYING), collector.sample(reading, STAYING)];
  await waitFor('a look', () => roots.length === 3);
  release();
  const [one, other] = await Promise.all(all);
  assert.deepEqual(one, other);
  assert.equal(roots.length, 3);
});

test('who leaves does not wait for the second to be over', async (t) => {
  const { collector, roots } = await made(t);
  const leaving = new AbortController();
  const asking = collector.sample(undefined, leaving.signal);
  await waitFor('a look', () => roots.length === 1);
  leaving.abort(new Error('gone'));
  await assert.rejects(asking, /gone/);
});

test('Docker is asked where its data is once an hour', async (t) => {
  const { clock, roots, sample, asked } = await made(t);
  const { reading } = await sample();
  await sample(reading);
  assert.equal(asked(), 1);
  clock.advance(3_600_000);
  await sample(reading);
  assert.equal(asked(), 2);
  assert.deepEqual(new Set(roots), new Set(['/data']));
});

test('what Docker may answer instead of a path is none', async (t) => {
  for (const info of [{}, { DockerRootDir: 7 }, { DockerRootDir: 'C:\\data' }, { DockerRootDir: '/a\0b' }, []]) {
    const { roots, sample } = await made(t, info);
    await sample();
    assert.deepEqual(new Set(roots), new Set([undefined]), JSON.stringify(info));
  }
});

test('a disk that does not answer is left out, and is not asked again until it does', async (t) => {
  const { roots, sample, hold, clock, collector } = await made(t);
  const { reading } = await sample();
  const release = hold();
  const late = collector.sample(reading, STAYING);
  await waitFor('a look', () => roots.length === 3);
  // The next look, without the disk, must not be held up by what is.
  const stuck = release;
  clock.advance(3_000);
  await waitFor('a look without the disk', () => roots.length === 4);
  assert.equal(roots[3], undefined);
  stuck();
  await late;
  await sample(reading);
  assert.deepEqual(roots, ['/data', '/data', '/data', undefined, '/data']);
});
