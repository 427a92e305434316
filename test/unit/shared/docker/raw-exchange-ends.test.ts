/** How exchanges with Docker end: in an answer where a connection was asked for, by either side, in the middle, or in nonsense. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { systemClock } from '../../../../shared/clock.ts';
import { beginExchange } from '../../../../shared/docker/raw-exchange.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { dockerRequest, dockerUpgrade } from '../../../../shared/messages/docker.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker, PERMISSIVE } from '../../agent/docker/fake-docker.ts';
import { answerOf, begin, bodyOf, handedOver, rawDocker } from '../../agent/docker/raw-docker.ts';

const UPGRADE = { method: 'POST', target: '/exec/1/start', protocol: 'tcp' };
const RAW_STREAM = 'Content-Type: application/vnd.docker.raw-stream';
const SWITCHING = ['HTTP/1.1 101 UPGRADED', RAW_STREAM, 'Connection: Upgrade', 'Upgrade: tcp', ''];
const REQUEST = { method: 'GET', target: '/x', headers: [], body: 'none' } as const;

test('an upgrade that Docker refuses is an answer as ever', async (t) => {
  const begun = await begin(t, UPGRADE);
  begun.docker.write('HTTP/1.1 404 Not Found', 'Content-Type: application/json', 'Content-Length: 2', '', '{}');
  assert.equal((await answerOf(begun)).status, 404);
  assert.equal(await text(await bodyOf(begun)), '{}');
  await begun.docker.gone();
});

for (const [name, ...lines] of [
  ['another type', 'HTTP/1.1 200 OK', 'Content-Type: application/vnd.docker.raw-streams', '', 'body'],
  ['a length', 'HTTP/1.1 200 OK', RAW_STREAM, 'Content-Length: 4', '', 'body'],
  ['chunks', 'HTTP/1.1 200 OK', RAW_STREAM, 'Transfer-Encoding: chunked', '', '4', 'body', '0', '', ''],
  ['another status', 'HTTP/1.1 201 Created', RAW_STREAM, '', 'body'],
] as const) {
  test(`an answer with ${name} hands nothing over`, async (t) => {
    const begun = await begin(t, UPGRADE);
    begun.docker.write(...lines);
    begun.docker.socket.end();
    assert.equal(await text(await bodyOf(begun)), 'body');
  });
}

test('bytes of a terminal that nobody asked to upgrade for are the body of an answer', async (t) => {
  const begun = await begin(t, { method: 'POST' });
  begun.docker.write('HTTP/1.1 200 OK', RAW_STREAM, '', 'output');
  begun.docker.socket.end();
  assert.equal(await text(await bodyOf(begun)), 'output');
});

test('trailers come with the end of the body', async (t) => {
  const begun = await begin(t);
  begun.docker.write(
    'HTTP/1.1 200 OK',
    'Trailer: X-T',
    'Transfer-Encoding: chunked',
    '',
    '1',
    'x',
    '0',
    'X-T: 1',
    '',
    '',
  );
  const { headers, body } = await answerOf(begun);
  assert.deepEqual(headers, []);
  assert.ok(body !== undefined);
  assert.equal(await text(body), 'x');
  assert.deepEqual(body.rawTrailers, ['X-T', '1']);
});

test('an answer without a length lasts until Docker closes', async (t) => {
  const begun = await begin(t);
  begun.docker.write('HTTP/1.1 200 OK', '', 'a');
  const reading = text(await bodyOf(begun));
  begun.docker.write('b');
  begun.docker.socket.end();
  assert.equal(await reading, 'ab');
});

for (const [name, ...lines] of [
  ['of so many bytes', 'HTTP/1.1 200 OK', 'Content-Length: 10', '', 'half'],
  ['in chunks', 'HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', '', '4', 'half', ''],
  ['in the middle of a chunk', 'HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', '', '9', 'half'],
] as const) {
  test(`Docker that closes within a body ${name} is a failure and no end`, async (t) => {
    const begun = await begin(t);
    begun.docker.write(...lines);
    const body = await bodyOf(begun);
    const [first] = await once(body, 'data');
    assert.equal(String(first), 'half');
    body.on('end', () => assert.fail('it looks whole'));
    begun.docker.socket.end();
    await within(5_000, 'the end', assert.rejects(text(body)));
    assert.equal(body.errored instanceof Error, true);
  });
}

for (const [name, answer] of [
  ['nothing', ''],
  ['half a head', 'HTTP/1.1 200 OK\r\nContent-Le'],
  ['no HTTP', 'hello?\r\n\r\n'],
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx'],
  ['a length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a header that is none', 'HTTP/1.1 200 OK\r\nX-B\0: 1\r\n\r\n'],
] as const) {
  test(`an answer that is ${name} is a failure`, async (t) => {
    const begun = await begin(t, { method: 'POST', body: 'chunked' });
    begun.docker.write(answer);
    begun.docker.socket.end();
    await assert.rejects(answerOf(begun), (error) => error instanceof Error && !/took longer/.test(error.message));
  });
}

test('a Docker that is not there is the failure of the answer, and what is sent to it harms nobody', async (t) => {
  const docker = await rawDocker(t);
  const address = { socketPath: `${docker.socket}.none`, text: '' };
  const { answer, body } = beginExchange(address, { ...REQUEST, body: 'chunked' });
  body.write('x');
  await assert.rejects(answer, { code: 'ENOENT' });
  body.write('y');
});

test('destroying it ends the connection: before the head, within either body, once it was handed over', async (t) => {
  const waiting = await begin(t);
  waiting.exchange.destroy();
  waiting.exchange.destroy();
  await assert.rejects(answerOf(waiting));
  const sending = await begin(t, { method: 'POST', body: 100 });
  sending.exchange.body.write('part');
  await sending.docker.sent('part');
  sending.exchange.destroy();
  const reading = await begin(t);
  reading.docker.write('HTTP/1.1 200 OK', 'Content-Length: 10', '', 'half');
  const body = await bodyOf(reading);
  reading.exchange.destroy();
  await assert.rejects(text(body));
  const old = await begin(t, UPGRADE);
  old.docker.write('HTTP/1.1 200 OK', RAW_STREAM, '', 'out');
  await handedOver(old);
  old.exchange.destroy();
  for (const { docker } of [waiting, sending, reading, old]) await docker.gone();
});

test('destroying it ends a connection that was handed over with 101, too', async (t) => {
  const begun = await begin(t, UPGRADE);
  begun.docker.write(...SWITCHING, '');
  const { sink } = await handedOver(begun);
  begun.exchange.destroy();
  await waitFor('the end of the connection', () => sink.destroyed, { timeoutMs: 2_000 });
  await begun.docker.gone();
});

test('a connection that breaks when it was handed over fails its halves, and nothing else', async (t) => {
  const begun = await begin(t, UPGRADE);
  begun.docker.write(...SWITCHING, 'out');
  const { source, sink } = await handedOver(begun);
  await once(source, 'readable');
  const failing = assert.rejects(text(source));
  sink.destroy(new Error('broken'));
  await failing;
  await begun.docker.gone();
});

test('an engine that is closed ends its exchanges and begins none', async (t) => {
  const fake = await fakeDocker(t, () => undefined);
  const engine = await engineAt(t, fake.socket);
  const { answer } = engine.exchange(dockerRequest, REQUEST);
  const failing = assert.rejects(within(5_000, 'the end', answer), (error) => !/took longer/.test(String(error)));
  await waitFor('the connection', () => fake.sockets.size === 1);
  engine.close();
  await failing;
  const isShutdown = (error: unknown) => isFairleadError(error, 'SHUTDOWN');
  assert.throws(() => engine.exchange(dockerRequest, REQUEST), isShutdown);
  await waitFor('the connection to be gone', () => fake.sockets.size === 0, { timeoutMs: 2_000 });
});

test('an engine that is closed ends connections that were handed over, too', async (t) => {
  const handOver = (connection: Socket) => connection.on('end', () => connection.end()).resume();
  const fake = await fakeDocker(t, () => undefined, handOver);
  const engine = await engineAt(t, fake.socket);
  const { answer } = engine.exchange(dockerUpgrade, { ...UPGRADE, headers: [], body: 'none' });
  assert.ok((await within(5_000, 'the upgrade', answer)).connection !== undefined);
  engine.close();
  await waitFor('the connection to be gone', () => fake.sockets.size === 0, { timeoutMs: 2_000 });
});

test('an engine whose policy denies a call, or a kind, begins no exchange', async (t) => {
  const fake = await fakeDocker(t, ({ url }) => assert.fail(url));
  const isDenied = (error: unknown) => isFairleadError(error, 'DENIED_BY_HOST') && /GET \/x$/.test(error.message);
  for (const deny of ['docker.request', 'exec', 'docker:GET /x', 'read']) {
    const engine = await engineAt(t, fake.socket, systemClock, { allow: [], deny: [deny] });
    assert.throws(() => engine.exchange(dockerRequest, { ...REQUEST, target: '/x?secret=1' }), isDenied, deny);
  }
  const engine = await engineAt(t, fake.socket, systemClock, PERMISSIVE);
  for (const target of ['/a/../x', '//x', '/%2e%2e/x', 'http://docker/x']) {
    assert.throws(() => engine.exchange(dockerRequest, { ...REQUEST, target }), /DENIED|policy/, target);
  }
});
