/** Samples that a client follows go on when their host was away, and while their container does not run. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Answer } from './fake-host.ts';
import { BASE, following, gather, get, ID, lost } from './follow-fixture.ts';

test('a container that does not run has samples, too, though Docker takes them at no time', async (t) => {
  const stopped = { read: '0001-01-01T00:00:00Z', id: ID };
  const stats: Answer = ({ stream }) => {
    stream.itemList = (async function* () {
      yield* [{ read: '2026-01-02T03:04:01.5Z', id: ID }, stopped, stopped, stopped];
    })();
    return {};
  };
  const { url } = await following(t, { 'container.stats': stats });
  const gathered = gather(await get(`${url}${BASE}/stats`));
  assert.equal(await gathered.end, 'whole');
  assert.equal(gathered.text.trim().split('\n').length, 4);
});

test('samples go on, of the same container and none twice', async (t) => {
  const sample = (second: number) => ({ read: `2026-01-02T03:04:0${second}.5Z`, id: ID });
  let asked = 0;
  const stats: Answer = ({ stream }) => {
    asked++;
    stream.itemList = (async function* () {
      if (asked > 1) return yield* [sample(2), sample(4)];
      yield* [sample(1), sample(2)];
      throw lost();
    })();
    return {};
  };
  const { url, host, stream } = await following(t, { 'container.stats': stats });
  const gathered = gather(await get(`${url}${BASE}/stats`));
  await stream(1);
  assert.equal(await gathered.end, 'whole');
  const reads = gathered.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).read.slice(17, 19));
  assert.deepEqual(reads, ['01', '02', '04']);
  assert.deepEqual(host.asked[1]?.params, { id: ID, stream: true });
});
