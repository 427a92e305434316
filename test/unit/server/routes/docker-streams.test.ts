/** Bodies through the API that take their time, both ways, and what becomes of those that break off. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { buffer, text } from 'node:stream/consumers';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { answerTo, DOCKER, dockerFixture, OK, responseTo } from './docker-fixture.ts';
import { as } from './fakes.ts';

/** Short enough to wait for. */
const TIMES = { headersMs: 300, requestMs: 600, checkMs: 25 };
const lost = () => new FairleadError('STREAM_INTERRUPTED', 'the connection to the host was lost');

/** What came until the connection broke. */
async function broken(response: IncomingMessage): Promise<string> {
  let received = '';
  response.on('data', (chunk) => {
    received += chunk;
  });
  response.on('end', () => assert.fail('it looks whole'));
  const [error] = await within(5_000, 'the end', once(response, 'error'));
  assert.equal(error.code, 'ECONNRESET');
  assert.equal(response.complete, false);
  return received;
}

test('an upload may take longer than any other request, which is still cut off', async (t) => {
  const it = await dockerFixture(
    t,
    { 'docker.request': () => OK },
    { overrides: { requestTimes: { handshakeMs: 1, ...TIMES } } },
  );
  const upload = it.begin('POST', `${DOCKER}/images/load`, { ...as('operator'), 'content-length': 30 });
  upload.write('0123456789');
  const { stream } = await it.asked();
  // What began after it and is cut off shows that its own time is over.
  for (const part of ['abcdefghij', 'ABCDEFGHIJ']) {
    const head = ['POST /api/v1/api-tokens HTTP/1.1', 'Host: x', 'Authorization: Bearer admin'];
    const slow = it.raw(...head, 'Content-Type: application/json', 'Content-Length: 100', '', '{');
    assert.match(await slow.ended(), /^HTTP\/1\.1 408 .*"code":"REQUEST_TIMEOUT"/s);
    upload.write(part);
  }
  upload.end();
  assert.equal(String(await buffer(stream.input)), '0123456789abcdefghijABCDEFGHIJ');
  it.finish(stream, 'loaded');
  assert.equal((await answerTo(upload)).text, 'loaded');
});

test('a connection that was used for an upload has no more time for its next request than any other', async (t) => {
  const it = await dockerFixture(t, {}, { overrides: { requestTimes: { handshakeMs: 1, ...TIMES } } });
  const authorization = 'Authorization: Bearer operator';
  const client = it.raw(`POST ${DOCKER}/images/load HTTP/1.1`, 'Host: x', authorization, 'Content-Length: 1', '', 'x');
  await client.until('HTTP/1.1 200 OK');
  await client.until('\r\n0\r\n\r\n');
  client.socket.write(`POST /api/v1/revocations HTTP/1.1\r\nHost: x\r\n${authorization}\r\nContent-Length: 9\r\n\r\n{`);
  await client.ended();
});

test('an answer may begin while the request is still on its way', async (t) => {
  const it = await dockerFixture(t, { 'docker.request': () => OK });
  const upload = it.begin('POST', `${DOCKER}/build`, as('operator'));
  upload.write('context');
  const { stream } = await it.asked();
  const response = await responseTo(upload);
  stream.output.write('Step 1');
  assert.equal(String((await once(response, 'data'))[0]), 'Step 1');
  upload.end(' and more');
  assert.equal(String(await buffer(stream.input)), 'context and more');
  it.finish(stream, 'Step 2');
  assert.equal(await text(response), 'Step 2');
});

test('what a client goes on sending behind a whole answer is dropped for a second, and then the connection', async (t) => {
  const clock = new FakeClock();
  const it = await dockerFixture(t, {}, { overrides: { clock } });
  const head = [`POST ${DOCKER}/images/load HTTP/1.1`, 'Host: x', 'Authorization: Bearer operator'];
  const client = it.raw(...head, 'Content-Length: 1000000', '', 'begun');
  await client.until('\r\n0\r\n\r\n');
  client.socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await waitFor('the connection to be closed', () => {
    clock.advance(1_000);
    return client.socket.destroyed || client.socket.readableEnded;
  });
  assert.equal(client.received().split('HTTP/1.1 ').length, 2, 'a body is no request');
});

for (const [name, headers] of [
  ['of so many bytes', { 'content-length': 100 }],
  ['in chunks', { 'transfer-encoding': 'chunked' }],
] as const) {
  test(`a client that breaks off within a body ${name} never makes it look whole`, async (t) => {
    const it = await dockerFixture(t, { 'docker.request': () => new Promise(() => undefined) });
    const upload = it.begin('PUT', `${DOCKER}/containers/web/archive`, { ...as('operator'), ...headers });
    upload.on('error', () => undefined).write('half');
    const { stream } = await it.asked();
    stream.input.on('end', () => assert.fail('it looks whole')).resume();
    await waitFor('the first half', () => stream.input.readableLength === 0);
    upload.destroy();
    await within(5_000, 'the reset', stream.wasReset.promise);
  });
}

test('a client that leaves within an answer, or while it waits for one, ends the work on the host', async (t) => {
  const it = await dockerFixture(t, { 'docker.request': () => OK });
  const request = it.begin('GET', `${DOCKER}/events`);
  request.end();
  const response = await responseTo(request);
  response.on('error', () => undefined).destroy();
  assert.equal((await within(5_000, 'the reset', (await it.asked()).stream.wasReset.promise)).code, 'CANCELLED');
  it.host.answers['docker.request'] = () => new Promise(() => undefined);
  const waiting = it.begin('POST', `${DOCKER}/containers/web/wait`);
  waiting.on('error', () => undefined).end();
  const asked = await waitFor('the second question', () => it.host.asked[1]);
  waiting.destroy();
  assert.equal((await within(5_000, 'the reset', asked.stream.wasReset.promise)).code, 'CANCELLED');
});

for (const [name, headers] of [
  ['in chunks', []],
  ['of so many bytes', [['Content-Length', '100']]],
] as const) {
  test(`an answer ${name} that is interrupted is broken off, and no clean end`, async (t) => {
    const it = await dockerFixture(t, { 'docker.request': () => ({ ...OK, headers }) });
    const request = it.begin('GET', `${DOCKER}/containers/web/logs?follow=1`);
    request.end();
    const response = await responseTo(request);
    const { stream } = await it.asked();
    stream.output.write('half');
    const received = broken(response);
    await once(response, 'data');
    stream.interrupt(lost());
    assert.equal(await received, 'half');
  });
}

test('a token that is revoked breaks its answers off', async (t) => {
  const it = await dockerFixture(t, { 'docker.request': () => OK });
  const request = it.begin('GET', `${DOCKER}/events`, as('viewer'));
  request.end();
  const response = await responseTo(request);
  const received = broken(response);
  it.revokeToken('id-operator');
  (await it.asked()).stream.output.write('still here');
  await once(response, 'data');
  it.revokeToken('id-viewer');
  assert.equal(await received, 'still here');
  assert.equal((await it.asked()).stream.resetWith?.code, 'UNAUTHORIZED');
});

for (const [name, body] of [
  ['longer', 'helloHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'],
  ['shorter', 'hel'],
] as const) {
  test(`an answer that is ${name} than its host says ends its connection, whose next answer is never forged`, async (t) => {
    const it = await dockerFixture(t, {
      'docker.request': ({ stream }) => {
        it.finish(stream, body);
        return { ...OK, headers: [['Content-Length', '5']] };
      },
    });
    const head = [`GET ${DOCKER}/info HTTP/1.1`, 'Host: x', 'Authorization: Bearer viewer', ''];
    const client = it.raw(...head, 'GET /healthz HTTP/1.1', 'Host: x', '', '');
    const answer = await client.ended();
    assert.equal(answer.split('HTTP/1.1 200').length, 2, answer);
    assert.doesNotMatch(answer, /forged/);
  });
}

test('an answer whose lines no client could read is an error, and leaves no client waiting', async (t) => {
  for (const reply of [
    { ...OK, reason: 'OK\r\nSet-Cookie: a=b' },
    { ...OK, headers: [['X-A', '\u20ac']] },
  ]) {
    const it = await dockerFixture(t, { 'docker.request': () => reply });
    const request = it.begin('GET', `${DOCKER}/info`, as('viewer'));
    request.end();
    const outcome = within(3_000, 'an answer', once(request, 'response')).then(
      ([response]) => `answered ${response.statusCode}`,
      (error: Error) => error.message,
    );
    assert.match(await outcome, /answered 502|socket hang up|ECONNRESET/, JSON.stringify(reply));
  }
});

test('a client that reads nothing holds the host up, and then gets every byte', async (t) => {
  const it = await dockerFixture(t, { 'docker.request': () => OK });
  const request = it.begin('GET', `${DOCKER}/containers/web/export`);
  request.end();
  const response = await responseTo(request);
  const { stream } = await it.asked();
  const piece = Buffer.alloc(64 * 1024, 'x');
  const total = 64 * 1024 * 1024;
  let written = 0;
  const writing = (async () => {
    for (; written < total; written += piece.byteLength) {
      if (!stream.output.write(piece)) await once(stream.output, 'drain');
    }
    it.finish(stream);
  })();
  let before = -1;
  await waitFor(
    'the host to be held up',
    () => {
      const isHeld = written === before;
      before = written;
      return isHeld;
    },
    { everyMs: 200 },
  );
  assert.ok(written < total / 2, `${written} bytes were taken in for a client that reads nothing`);
  let received = 0;
  for await (const chunk of response) received += (chunk as Buffer).byteLength;
  await writing;
  assert.equal(received, total);
});
