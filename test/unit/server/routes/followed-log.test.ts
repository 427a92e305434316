/** A log that a client follows goes on when its host was away: from where it stopped, once, and not for ever. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COMEBACK_MS } from '../../../../server/routes/limits.ts';
import { type ErrorCode, FairleadError } from '../../../../shared/errors.ts';
import { waitFor } from '../../../support/wait.ts';
import { frame } from './fake-host.ts';
import { BASE, entry, following, gather, get, ID, lost } from './follow-fixture.ts';

test('a log goes on with the very next byte, by its container’s id, and asks for nothing twice', async (t) => {
  const { url, host, stream } = await following(t);
  const gathered = gather(await get(`${url}${BASE}/logs?follow=1&tail=5&stderr=0`));
  const first = await stream(0);
  first.output.write(Buffer.concat([entry(1, 'one\n'), entry(2, 'two\n'), entry(2, 'three is lo').subarray(0, 47)]));
  await waitFor('the first lines', () => gathered.text === 'one\ntwo\nthree is');
  first.interrupt(lost());
  const second = await stream(1);
  const whole = entry(2, 'three is lo');
  second.output.end(Buffer.concat([entry(1, 'one\n'), entry(2, 'two\n'), whole, entry(2, 'ng\n'), entry(3, 'four\n')]));
  assert.equal(await gathered.end, 'whole');
  assert.equal(gathered.text, 'one\ntwo\nthree is long\nfour\n');
  const common = { follow: true, stdout: true, stderr: false, timestamps: true };
  assert.deepEqual(host.asked[0]?.params, { id: 'web', ...common, tail: 5 });
  assert.deepEqual(host.asked[1]?.params, { id: ID, ...common, since: '1767323043.002000000' });
});

test('records, and times for those who ask, go on in the same way', async (t) => {
  const { url, stream } = await following(t);
  const gathered = gather(await get(`${url}${BASE}/logs?follow=1&timestamps=1`, 'application/x-ndjson'));
  const first = await stream(0);
  first.output.write(entry(1, 'one\n'));
  await waitFor('the first line', () => gathered.text.includes('one'));
  first.interrupt(lost());
  (await stream(1)).output.end(Buffer.concat([entry(1, 'one\n'), entry(1, 'err\n', 2)]));
  assert.equal(await gathered.end, 'whole');
  const time = '2026-01-02T03:04:05.001000000Z';
  assert.deepEqual(
    gathered.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
    [
      { stream: 'stdout', time, line: 'one' },
      { stream: 'stderr', time, line: 'err' },
    ],
  );
});

test("frames are Docker's own, and the head tells which log it is", async (t) => {
  const { url, stream } = await following(t);
  const type = 'application/vnd.docker.multiplexed-stream';
  const response = await get(`${url}${BASE}/logs?follow=1&timestamps=1`, type);
  assert.equal(response.headers['content-type'], type);
  assert.equal(response.headers['x-fairlead-container-id'], ID);
  assert.equal(response.headers['x-fairlead-container-started'], '2026-01-02T03:00:00.5Z');
  assert.equal(response.headers['x-fairlead-log-opened'], '2026-01-02T03:04:00.000Z');
  const gathered = gather(response);
  const sent = Buffer.concat([entry(1, 'one\n'), entry(2, 'two\n', 2)]);
  const first = await stream(0);
  first.output.write(sent.subarray(0, 60));
  await waitFor('the first frame', () => gathered.text.length > 40);
  first.interrupt(lost());
  (await stream(1)).output.end(sent);
  assert.equal(await gathered.end, 'whole');
  assert.equal(gathered.text, sent.toString());
});

test('a log that showed nothing goes on from when it was opened', async (t) => {
  const { url, host, clock, stream } = await following(t);
  const gathered = gather(await get(`${url}${BASE}/logs?follow=1&tail=0`));
  const first = await stream(0);
  clock.advance(3_000);
  first.interrupt(lost());
  (await stream(1)).output.end(entry(9, 'new\n'));
  assert.equal(await gathered.end, 'whole');
  assert.equal(gathered.text, 'new\n');
  assert.equal(host.asked[1]?.params['since'], '2026-01-02T03:04:00.000Z');
  assert.equal(host.asked[1]?.params['tail'], undefined);
});

test('a log that was rotated meanwhile has a gap in records, and is broken off as bytes, at once', async (t) => {
  const late = frame(1, '2026-01-02T03:09:00.000000000Z new\n');
  for (const accept of ['application/x-ndjson', 'text/plain', 'application/vnd.docker.multiplexed-stream']) {
    const { url, host, stream, clock } = await following(t);
    const gathered = gather(await get(`${url}${BASE}/logs?follow=1`, accept));
    const first = await stream(0);
    first.output.write(Buffer.concat([entry(1, 'one\n'), entry(2, 'two is cut\n').subarray(0, 46)]));
    await waitFor('the first lines', () => gathered.text.includes('one'));
    first.interrupt(lost());
    const second = await stream(1);
    const before = clock.monotonic();
    second.output.end(late);
    const isRecords = accept === 'application/x-ndjson';
    assert.equal(await gathered.end, isRecords ? 'whole' : 'broken', accept);
    assert.equal(clock.monotonic(), before);
    assert.equal(host.asked.length, 2);
    if (!isRecords) continue;
    const records = gathered.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      records.map(({ line, gap }) => line ?? gap.after),
      ['one', 'two is ', '2026-01-02T03:04:05.002000000Z', 'new'],
    );
  }
});

test('a duration counts from when the log was opened at first, by the clock of the host', async (t) => {
  const { url, host, stream } = await following(t);
  const gathered = gather(await get(`${url}${BASE}/logs?follow=1&since=10m`));
  (await stream(0)).interrupt(lost());
  (await stream(1)).output.end(entry(1, 'old\n'));
  assert.equal(await gathered.end, 'whole');
  assert.equal(gathered.text, 'old\n');
  assert.equal(host.asked[0]?.params['since'], '10m');
  assert.equal(host.asked[1]?.params['since'], `${Date.parse('2026-01-02T02:54:00Z') / 1000}.000000000`);
});

test('a container that was started anew meanwhile ends its log where it was', async (t) => {
  let startedAt = '2026-01-02T03:00:00Z';
  const answer = () => ({ tty: false, id: ID, startedAt });
  const { url, host, stream } = await following(t, { 'container.log.stream': answer });
  const gathered = gather(await get(`${url}${BASE}/logs?follow=1`));
  const first = await stream(0);
  first.output.write(entry(1, 'one\n'));
  await waitFor('the first line', () => gathered.text !== '');
  startedAt = '2026-01-02T03:04:06.25Z';
  first.interrupt(lost());
  (await stream(2)).output.end(Buffer.concat([entry(1, 'one\n'), entry(4, 'last\n')]));
  assert.equal(await gathered.end, 'whole');
  assert.equal(gathered.text, 'one\nlast\n');
  assert.equal((await stream(1)).resetWith?.code, 'CANCELLED');
  const { follow, until } = host.asked[2]?.params ?? assert.fail('it was not asked for');
  assert.deepEqual([follow, until], [false, startedAt]);
});

test('what ends it in the end is told: another container, a host that is gone, an answer that is no interruption', async (t) => {
  const codes: ErrorCode[] = ['CONTAINER_NOT_FOUND', 'DENIED_BY_HOST', 'HOST_NOT_FOUND'];
  for (const code of codes) {
    let asked = 0;
    const answer = () => {
      if (asked++ > 0) throw new FairleadError(code, 'no more');
      return { tty: false };
    };
    const { url, stream } = await following(t, { 'container.log.stream': answer });
    const gathered = gather(await get(`${url}${BASE}/logs?follow=1`, 'application/x-ndjson'));
    (await stream(0)).interrupt(lost());
    await stream(1);
    assert.equal(await gathered.end, 'broken');
    assert.equal(JSON.parse(gathered.text).error.code, code);
  }
});

test('a host that stays away ends it after 5 minutes; one whose Docker still starts is asked again', async (t) => {
  let away: ErrorCode | undefined;
  const answer = () => {
    if (away !== undefined) throw new FairleadError(away, 'not yet');
    return { tty: false };
  };
  const { url, clock, host, stream } = await following(t, { 'container.log.stream': answer });
  const gathered = gather(await get(`${url}${BASE}/logs?follow=1`, 'application/x-ndjson'));
  const first = await stream(0);
  away = 'DOCKER_UNREACHABLE';
  first.interrupt(lost());
  await stream(3);
  away = undefined;
  const next = await waitFor('another stream', async () => {
    clock.advance(5_000);
    const last = host.asked.at(-1)?.stream;
    return host.asked.length > 4 ? last : undefined;
  });
  next.output.write(entry(1, 'one\n'));
  await waitFor('a line', () => gathered.text.includes('one'));
  away = 'HOST_OFFLINE';
  next.interrupt(lost());
  const before = clock.monotonic();
  await waitFor('the end', () => {
    clock.advance(2_500);
    return gathered.text.includes('error');
  });
  assert.ok(clock.monotonic() - before <= COMEBACK_MS + 10_000);
  assert.equal(await gathered.end, 'broken');
  const last = gathered.text.trim().split('\n').at(-1) ?? '';
  assert.equal(JSON.parse(last).error.code, 'HOST_OFFLINE');
});

test('a Docker that breaks off is waited for as a host is, and is named when it stays away', async (t) => {
  let isUp = true;
  const gone = () => new FairleadError('DOCKER_UNREACHABLE', 'Docker is not reachable: it broke off the connection');
  const answer = () => {
    if (!isUp) throw gone();
    return { tty: false };
  };
  const { url, clock, stream } = await following(t, { 'container.log.stream': answer });
  const gathered = gather(await get(`${url}${BASE}/logs?follow=1`, 'application/x-ndjson'));
  const first = await stream(0);
  first.output.write(entry(1, 'one\n'));
  await waitFor('a line', () => gathered.text.includes('one'));
  first.interrupt(gone());
  const second = await stream(1);
  second.output.write(Buffer.concat([entry(1, 'one\n'), entry(2, 'two\n')]));
  await waitFor('the next line', () => gathered.text.includes('two'));
  isUp = false;
  second.interrupt(gone());
  const before = clock.monotonic();
  await waitFor('the end', () => {
    clock.advance(2_500);
    return gathered.text.includes('error');
  });
  assert.ok(clock.monotonic() - before >= COMEBACK_MS);
  assert.equal(await gathered.end, 'broken');
  const records = gathered.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    records.map(({ line, error }) => line ?? error.code),
    ['one', 'two', 'DOCKER_UNREACHABLE'],
  );
});

test('who does not want it, or reads no more than there is, is told of an interruption at once', async (t) => {
  const { url, host, stream } = await following(t);
  for (const [index, query] of ['follow=1&resume=0', 'follow=0'].entries()) {
    const gathered = gather(await get(`${url}${BASE}/logs?${query}`, 'application/x-ndjson'));
    (await stream(index)).interrupt(lost());
    assert.equal(await gathered.end, 'broken');
    assert.equal(JSON.parse(gathered.text).error.code, 'STREAM_INTERRUPTED');
    assert.equal(host.asked.length, index + 1);
  }
  assert.equal(host.asked[0]?.params['timestamps'], undefined);
});

test('a client that leaves, and a token that ends, end the wait', async (t) => {
  const waiting = Promise.withResolvers<AbortSignal>();
  const made = await following(t);
  made.deps.hosts.linkOnReturn = async (_ref, signal) => {
    waiting.resolve(signal);
    return await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const gathered = gather(await get(`${made.url}${BASE}/logs?follow=1`, 'application/x-ndjson'));
  (await made.stream(0)).interrupt(lost());
  const signal = await waitFor('the wait', async () => {
    made.clock.advance(100);
    return await Promise.race([waiting.promise, undefined]);
  });
  made.revokeToken('id-viewer');
  assert.equal(await gathered.end, 'broken');
  assert.equal(signal.aborted, true);
  assert.equal(JSON.parse(gathered.text).error.code, 'UNAUTHORIZED');
});
