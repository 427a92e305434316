/** Logs and statistics over a real socket: bytes, records, backpressure, and every way in which they end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import { type TestContext, test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { type FakeStream, frame } from './fake-host.ts';
import { as, type Fixture, fixture, listen } from './fakes.ts';

const BASE = '/api/v1/hosts/edge-1/containers/web';
const NDJSON = { accept: 'application/x-ndjson' };

interface Streaming extends Fixture {
  url: string;
  /** The host's side of the stream that was asked for last. */
  stream(): FakeStream;
}

async function streaming(t: TestContext, tty = false, overrides = {}): Promise<Streaming> {
  const made = await fixture({
    answers: { 'container.log.stream': () => ({ tty }), 'container.stats': () => ({}) },
    overrides,
  });
  const url = await listen(made);
  t.after(() => made.api.close());
  const stream = () => {
    const last = made.host.asked.at(-1);
    if (last === undefined) throw new Error('the host was not asked');
    return last.stream;
  };
  return { ...made, url, stream };
}

async function get(url: string, headers: object = {}): Promise<IncomingMessage> {
  const request = http.get(url, { headers: { ...as('viewer'), ...headers }, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return response;
}

async function text(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** What came until the connection broke. */
async function broken(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  response.on('data', (chunk: Buffer) => chunks.push(chunk));
  const [error] = (await once(response, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET');
  assert.equal(response.complete, false);
  return Buffer.concat(chunks).toString();
}

test('a log is both streams and all lines, as bytes in their order', async (t) => {
  const { url, host, stream } = await streaming(t);
  const response = await get(`${url}${BASE}/logs`);
  assert.match(response.headers['content-type'] ?? '', /^text\/plain/);
  stream().output.end(Buffer.concat([frame(1, 'one\n'), frame(2, 'two\n'), frame(1, 'three')]));
  assert.equal(await text(response), 'one\ntwo\nthree');
  assert.deepEqual(host.asked[0]?.params, { id: 'web', stdout: true, stderr: true });
});

test('what is asked of a log is passed on', async (t) => {
  const { url, host, stream } = await streaming(t);
  const query = 'follow=1&tail=5&since=10m&until=2026-01-01T00:00:00Z&timestamps=true&stdout=1&stderr=0';
  const response = await get(`${url}${BASE}/logs?${query}`);
  stream().output.end();
  await text(response);
  assert.deepEqual(host.asked[0]?.params, {
    id: 'web',
    follow: true,
    tail: 5,
    since: '10m',
    until: '2026-01-01T00:00:00Z',
    timestamps: true,
    stdout: true,
    stderr: false,
  });
});

test('the head of a silent log comes at once', async (t) => {
  const { url } = await streaming(t);
  const response = await get(`${url}${BASE}/logs?follow`);
  assert.equal(response.statusCode, 200);
  response.destroy();
});

test('records keep a character that a frame has cut', async (t) => {
  const { url, stream } = await streaming(t);
  const response = await get(`${url}${BASE}/logs?timestamps=0`, NDJSON);
  assert.equal(response.headers['content-type'], 'application/x-ndjson');
  const euro = Buffer.from('€');
  const { output } = stream();
  output.write(frame(1, Buffer.concat([Buffer.from('a'), euro.subarray(0, 1)])));
  output.write(frame(2, 'err\n'));
  output.end(frame(1, Buffer.concat([euro.subarray(1), Buffer.from('b\n')])));
  const records = (await text(response))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(records, [
    { stream: 'stderr', line: 'err' },
    { stream: 'stdout', line: 'a€b' },
  ]);
});

test('a log that is interrupted never looks whole', async (t) => {
  const { url, stream } = await streaming(t);
  const response = await get(`${url}${BASE}/logs?follow=1`);
  stream().output.write(frame(1, 'begun\n'));
  const received = broken(response);
  await once(response, 'data');
  stream().interrupt(new FairleadError('STREAM_INTERRUPTED', 'the connection to the host was lost'));
  assert.equal(await received, 'begun\n');
});

test('records end in one that says what interrupted them', async (t) => {
  const { url, stream } = await streaming(t);
  const response = await get(`${url}${BASE}/logs?follow=1`, NDJSON);
  stream().output.write(frame(1, 'begun\n'));
  const received = broken(response);
  await once(response, 'data');
  stream().interrupt(new FairleadError('STREAM_INTERRUPTED', 'lost'));
  const records = (await received)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const detail = 'lost; it may be asked again';
  assert.deepEqual(records.at(-1), { error: { code: 'STREAM_INTERRUPTED', detail, repeat: 'safe' } });
});

test('output that ends in the middle of a frame breaks the answer', async (t) => {
  const { url, stream } = await streaming(t);
  const response = await get(`${url}${BASE}/logs`);
  stream().output.end(frame(1, 'whole\nand not').subarray(0, 12));
  await broken(response);
});

test('a client that leaves ends the work on the host', async (t) => {
  const { url, stream } = await streaming(t);
  const response = await get(`${url}${BASE}/logs?follow=1`);
  response.on('error', () => undefined);
  response.destroy();
  const error = await stream().wasReset.promise;
  assert.equal(error.code, 'CANCELLED');
});

test('a client that does not read holds up the host, and then gets every byte', async (t) => {
  const { url, stream } = await streaming(t, true);
  const response = await get(`${url}${BASE}/logs`);
  const chunk = Buffer.alloc(64 * 1024, 'x');
  const total = 64 * 1024 * 1024;
  const { output } = stream();
  let written = 0;
  const writing = (async () => {
    while (written < total) {
      written += chunk.length;
      if (!output.write(chunk)) await once(output, 'drain');
    }
    output.end();
  })();
  let before = -1;
  while (written !== before) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.ok(written < total / 2, `${written} bytes were taken in for a client that reads nothing`);
  let received = 0;
  for await (const piece of response) received += (piece as Buffer).length;
  await writing;
  assert.equal(received, total);
});

test('a revoked token ends its followed logs, and no others', async (t) => {
  const { url, stream, revokeToken } = await streaming(t);
  const response = await get(`${url}${BASE}/logs?follow=1`, NDJSON);
  const received = broken(response);
  revokeToken('id-admin');
  assert.equal(stream().resetWith, undefined);
  revokeToken('id-viewer');
  const records = (await received)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(records.at(-1).error.code, 'UNAUTHORIZED');
  assert.equal((await stream().wasReset.promise).code, 'UNAUTHORIZED');
});

test('closing the API ends followed logs', async (t) => {
  const { url, stream, api } = await streaming(t);
  const response = await get(`${url}${BASE}/logs?follow=1`);
  const received = broken(response);
  await api.close();
  await received;
  assert.equal(stream().resetWith?.code, 'SHUTDOWN');
});

test('what is wrong before the first byte is a problem', async (t) => {
  const { url, host } = await streaming(t);
  host.answers['container.log.stream'] = () => {
    throw new FairleadError('DOCKER_UNREACHABLE', 'Docker does not answer');
  };
  const response = await get(`${url}${BASE}/logs`);
  assert.equal(response.statusCode, 502);
  assert.equal(JSON.parse(await text(response)).code, 'DOCKER_UNREACHABLE');
  const bad = await get(`${url}${BASE}/logs?tail=-1`);
  assert.equal(bad.statusCode, 400);
  assert.match(JSON.parse(await text(bad)).detail, /the query at tail/);
});

test("statistics are Docker's own objects, one a line", async (t) => {
  const { url, host } = await streaming(t);
  host.answers['container.stats'] = ({ stream }) => {
    stream.itemList = [{ cpu: 1 }, { cpu: 2 }];
    return {};
  };
  const response = await get(`${url}${BASE}/stats?stream=0`);
  assert.equal(response.headers['content-type'], 'application/x-ndjson');
  assert.equal(await text(response), '{"cpu":1}\n{"cpu":2}\n');
  assert.deepEqual(host.asked[0]?.params, { id: 'web', stream: false });
});
