/** The collector asks Docker seldom, looks once for all who ask at once, and does not wait for a disk that is stuck. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { HostCollector } from '../../../../agent/metrics/host-collector.ts';
import type { Reading } from '../../../../agent/metrics/reading.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { engineAt, fakeDocker } from '../docker/fake-docker.ts';

const NOTHING: Reading = {
  monotonicMs: 0,
  at: 0,
  uptimeSeconds: 0,
  cpu: undefined,
  interfaces: undefined,
  levels: {},
};

async function made(t: TestContext, info: unknown = { DockerRootDir: '/data' }) {
  let asked = 0;
  const docker = await fakeDocker(t, (_request, response) => {
    asked += 1;
    response.end(JSON.stringify(info));
  });
  const clock = new FakeClock();
  const engine = await engineAt(t, docker.socket, clock);
  const roots: (string | undefined)[] = [];
  const reads: PromiseWithResolvers<Reading>[] = [];
  const collector = new HostCollector(engine, (_clock, root) => {
    const read = Promise.withResolvers<Reading>();
    roots.push(root);
    reads.push(read);
    return read.promise;
  });
  return { collector, clock, roots, reads, asked: () => asked };
}

test('all who ask at once get one look, and the next one a new one', async (t) => {
  const { collector, reads } = await made(t);
  const all = [collector.read(), collector.read()];
  await waitFor('a look', () => reads.length === 1);
  reads[0]?.resolve(NOTHING);
  assert.deepEqual(await Promise.all(all), [NOTHING, NOTHING]);
  const next = collector.read();
  await waitFor('another', () => reads.length === 2);
  reads[1]?.resolve(NOTHING);
  await next;
});

test('Docker is asked where its data is once an hour', async (t) => {
  const { collector, clock, roots, reads, asked } = await made(t);
  for (let i = 0; i < 3; i++) {
    const read = collector.read();
    await waitFor('a look', () => reads.length === i + 1);
    reads[i]?.resolve(NOTHING);
    await read;
    if (i === 1) clock.advance(3_600_000);
  }
  assert.deepEqual(roots, ['/data', '/data', '/data']);
  assert.equal(asked(), 2);
});

test('what Docker may answer instead of a path is none', async (t) => {
  for (const info of [{}, { DockerRootDir: 7 }, { DockerRootDir: 'C:\\data' }, { DockerRootDir: '/a\0b' }, []]) {
    const { collector, reads, roots } = await made(t, info);
    const read = collector.read();
    await waitFor('a look', () => reads.length === 1);
    reads[0]?.resolve(NOTHING);
    await read;
    assert.deepEqual(roots, [undefined], JSON.stringify(info));
  }
});

test('a disk that does not answer is left out, and is not asked again until it does', async (t) => {
  const { collector, clock, reads, roots } = await made(t);
  const first = collector.read();
  await waitFor('a look', () => reads.length === 1);
  clock.advance(3_000);
  await waitFor('a look without the disk', () => reads.length === 2);
  reads[1]?.resolve({ ...NOTHING, at: 1 });
  assert.equal((await first).at, 1);
  const second = collector.read();
  await waitFor('the next', () => reads.length === 3);
  reads[2]?.resolve(NOTHING);
  await second;
  assert.deepEqual(roots, ['/data', undefined, undefined]);
  reads[0]?.resolve(NOTHING);
  await reads[0]?.promise;
  void collector.read();
  await waitFor('the disk again', () => roots.length === 4);
  assert.equal(roots[3], '/data');
});
