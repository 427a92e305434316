/** What goes over the wire to Docker byte for byte, and what is made of every kind of answer. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { connect, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import type { HeaderPair } from '../../../../shared/docker/headers.ts';
import { beginExchange, type RawRequest } from '../../../../shared/docker/raw-exchange.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { waitFor } from '../../../support/wait.ts';
import { answerOf, begin, bodyOf, handedOver, rawDocker } from '../../agent/docker/raw-docker.ts';

const UPGRADE = { method: 'POST', target: '/exec/1/start', protocol: 'tcp' };
const SWITCHING = ['HTTP/1.1 101 UPGRADED', 'Content-Type: application/vnd.docker.raw-stream', 'Connection: Upgrade'];

test('the request line and the headers go out as they came, in order and letter case, as often as they came', async (t) => {
  const headers: HeaderPair[] = [
    ['User-Agent', 'Docker-Client/28 (linux)'],
    ['X-Registry-Auth', 'e30='],
    ['x-A', '1'],
    ['X-a', '2'],
    ['X-Empty', ''],
    ['X-Latin', 'caf\xe9'],
  ];
  const target = "/v1.41/images/registry:5000/team/app:1/json?filters=%7B%22a%22%7D&x='(~)!";
  const { docker } = await begin(t, { target, headers });
  const lines = ['X-Registry-Auth: e30=', 'x-A: 1', 'X-a: 2', 'X-Empty: ', 'X-Latin: caf\xe9', 'Connection: close'];
  assert.deepEqual(docker.head.split('\r\n'), [
    `GET ${target} HTTP/1.1`,
    'Host: docker',
    'User-Agent: Docker-Client/28 (linux)',
    ...lines,
  ]);
  assert.equal(docker.body, '');
});

test('reads follow each other over one connection; what changes something has its own, and what is broken off is not used again', async (t) => {
  const docker = await rawDocker(t);
  const reads = new Agent({ keepAlive: true });
  t.after(() => reads.destroy());
  const target = { socketPath: docker.socket, reads };
  const read: RawRequest = { method: 'GET', target: '/1', headers: [], body: 'none' };
  const first = beginExchange(target, read);
  const kept = await docker.connection();
  assert.equal(await kept.request(), 'GET /1 HTTP/1.1\r\nHost: docker\r\nConnection: keep-alive');
  kept.write('HTTP/1.1 200 OK', 'Content-Length: 2', '', 'ok');
  const { body } = await first.answer;
  assert.ok(body !== undefined);
  assert.equal(await text(body), 'ok');
  await first.ended;
  first.destroy();
  const second = beginExchange(target, { ...read, target: '/2' });
  await waitFor('the second read', () => kept.received.includes('GET /2 '));
  const change = beginExchange(target, { method: 'POST', target: '/3', headers: [], body: 'none' });
  const own = await docker.connection(1);
  assert.match(await own.request(), /^POST \/3 [\s\S]*\r\nConnection: close$/);
  change.destroy();
  await assert.rejects(change.answer);
  kept.write('HTTP/1.1 200 OK', 'Content-Length: 4', '', 'ha');
  await second.answer;
  second.destroy();
  await kept.gone();
  const third = beginExchange(target, { ...read, target: '/4' });
  const fresh = await docker.connection(2);
  assert.match(await fresh.request(), /^GET \/4 /);
  third.destroy();
  await assert.rejects(third.answer);
});

test('over TCP the same goes out, and the same comes back', async (t) => {
  const docker = await rawDocker(t);
  const relay = createServer((near) => {
    const far = connect(docker.socket);
    near.pipe(far).pipe(near);
    for (const end of [near, far]) end.on('error', () => undefined);
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  t.after(() => relay.close());
  const { port } = relay.address() as { port: number };
  const request: RawRequest = { method: 'GET', target: '/x', headers: [['X-A', '1']], body: 'none' };
  const { answer } = beginExchange({ host: '127.0.0.1', port }, request);
  const connection = await docker.connection();
  assert.equal(await connection.request(), 'GET /x HTTP/1.1\r\nHost: docker\r\nX-A: 1\r\nConnection: close');
  connection.write('HTTP/1.1 200 OK', 'Content-Length: 2', '', 'ok');
  const { body } = await answer;
  assert.equal(await text(body ?? assert.fail('there is no body')), 'ok');
});

for (const [method, body, framing] of [
  ['GET', 'none', []],
  ['HEAD', 'none', []],
  ['POST', 'none', ['content-length: 0']],
  ['PUT', 'none', ['content-length: 0']],
  ['DELETE', 'none', ['content-length: 0']],
  ['POST', 12, ['content-length: 12']],
  ['GET', 12, ['content-length: 12']],
  ['DELETE', 12, ['content-length: 12']],
  ['POST', 'chunked', ['transfer-encoding: chunked']],
  ['GET', 'chunked', ['transfer-encoding: chunked']],
  ['DELETE', 'chunked', ['transfer-encoding: chunked']],
] as const) {
  test(`${method} with the body ${body} is framed once, for one connection and one host`, async (t) => {
    const { docker } = await begin(t, { method, body });
    const [line, ...headers] = docker.head.split('\r\n').map((header) => header.toLowerCase());
    assert.equal(line, `${method.toLowerCase()} /x http/1.1`);
    assert.deepEqual(headers.toSorted(), ['connection: close', ...framing, 'host: docker'].toSorted());
  });
}

test('a request for an upgrade says so once, and how long its body is', async (t) => {
  const { docker, exchange } = await begin(t, { ...UPGRADE, body: 2 });
  exchange.body.end('{}');
  await docker.sent('{}');
  const headers = ['Host: docker', 'Content-Length: 2', 'Connection: Upgrade', 'Upgrade: tcp'];
  assert.deepEqual(docker.head.split('\r\n'), ['POST /exec/1/start HTTP/1.1', ...headers]);
  assert.equal(docker.body, '{}');
});

test('no header of the client says how its request is framed, for whom, or for how long', async (t) => {
  const docker = await rawDocker(t);
  const ask = (...headers: HeaderPair[]) => {
    const request: RawRequest = { method: 'POST', target: '/x', headers, body: 5 };
    return () => beginExchange({ socketPath: docker.socket }, request);
  };
  const framing = ['Transfer-Encoding', 'Content-Length', 'Host', 'Connection', 'Expect', 'Upgrade', 'Keep-Alive'];
  const more = ['TE', 'Trailer', 'Proxy-Connection', 'Proxy-Authorization', 'Proxy-Authenticate'];
  for (const name of [...framing, ...more].flatMap((one) => [one, one.toLowerCase(), one.toUpperCase()])) {
    const isInvalid = (error: unknown) => isFairleadError(error, 'MESSAGE_INVALID');
    assert.throws(ask(['X-A', '1'], [name, 'chunked'], ['X-B', '2']), isInvalid, name);
  }
  // What is no header, its sender's schema refuses; if it did not, Node would.
  assert.throws(ask(['X-A', '1\r\nTransfer-Encoding: chunked']), TypeError);
  assert.throws(ask(['X-A: 1\r\nHost', 'x']), TypeError);
  assert.throws(ask(['Host ', 'x']), TypeError);
  assert.deepEqual(docker.connections, [], 'nothing was sent');
});

test('a body in chunks goes out as it is written, each piece at once', async (t) => {
  const { docker, exchange } = await begin(t, { method: 'POST', body: 'chunked' });
  exchange.body.write('hello');
  await docker.sent('5\r\nhello\r\n');
  exchange.body.write('0\r\n\r\nGET /y HTTP/1.1\r\n\r\n');
  exchange.body.end();
  await docker.sent('\r\n0\r\n\r\n');
  assert.equal(docker.body, '5\r\nhello\r\n18\r\n0\r\n\r\nGET /y HTTP/1.1\r\n\r\n\r\n0\r\n\r\n');
});

test('the head of an answer is there the moment that it comes, as it came, and its body later', async (t) => {
  const begun = await begin(t);
  begun.docker.write(
    'HTTP/1.1 299 Quite Fine',
    'X-A: 1',
    'x-a: 2',
    'Content-Length: 5',
    'Connection: X-Own',
    'X-Own: 1',
    '',
    '',
  );
  const { status, reason, headers, body } = await answerOf(begun);
  const expected = [
    ['X-A', '1'],
    ['x-a', '2'],
    ['Content-Length', '5'],
  ];
  assert.deepEqual({ status, reason, headers }, { status: 299, reason: 'Quite Fine', headers: expected });
  const reading = text(body ?? assert.fail('there is no body'));
  begun.docker.write('hello');
  assert.equal(await reading, 'hello');
  await begun.docker.gone();
});

test('what comes before the answer is not taken for it', async (t) => {
  const begun = await begin(t, { method: 'POST', body: 'chunked' });
  begun.docker.write(
    'HTTP/1.1 100 Continue',
    '',
    'HTTP/1.1 103 Early Hints',
    'Link: x',
    '',
    'HTTP/1.1 204 No Content',
    '',
    '',
  );
  assert.equal((await answerOf(begun)).status, 204);
});

test('an answer may begin, and go on, while the body is still being sent', async (t) => {
  const begun = await begin(t, { method: 'POST', body: 10 });
  begun.docker.write('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', '', '5', 'early', '');
  const body = await bodyOf(begun);
  const [first] = await once(body, 'data');
  assert.equal(String(first), 'early');
  begun.exchange.body.end('0123456789');
  await begun.docker.sent('0123456789');
  begun.docker.write('4', 'late', '0', '', '');
  assert.equal(await text(body), 'late');
});

test('an answer that ends before the body has come is whole, and the rest of the body goes nowhere', async (t) => {
  const begun = await begin(t, { method: 'POST', body: 1_000_000_000 });
  begun.docker.write('HTTP/1.1 413 Too Large', 'Content-Length: 2', '', 'no');
  assert.equal(await text(await bodyOf(begun)), 'no');
  begun.docker.socket.end();
  await waitFor('the end of the body', () => begun.exchange.body.destroyed);
  await begun.docker.gone();
});

test('a connection that is handed over has all that came right behind the head, and both halves', async (t) => {
  const begun = await begin(t, { ...UPGRADE, body: 2 });
  begun.exchange.body.end('{}');
  await begun.docker.sent('{}');
  begun.docker.write(...SWITCHING, 'Upgrade: tcp', '', 'right behind');
  const { source, sink } = await handedOver(begun);
  const { status, reason, headers } = await begun.exchange.answer;
  assert.deepEqual(
    [status, reason, headers],
    [101, 'UPGRADED', [['Content-Type', 'application/vnd.docker.raw-stream']]],
  );
  const reading = text(source);
  sink.end('in');
  await waitFor('the end of our half', () => begun.docker.hasEnded);
  assert.equal(begun.docker.body, '{}in');
  begun.docker.write(' and after our end');
  begun.docker.socket.end();
  assert.equal(await reading, 'right behind and after our end');
});

for (const type of ['application/vnd.docker.raw-stream', 'application/vnd.docker.multiplexed-stream']) {
  test(`an Engine that knows no 101 hands the connection over with 200: ${type}`, async (t) => {
    const begun = await begin(t, UPGRADE);
    begun.docker.write('HTTP/1.1 200 OK', `Content-Type: ${type}`, '', 'out');
    const { source, sink } = await handedOver(begun);
    const reading = text(source);
    sink.end('in');
    await waitFor('the end of our half', () => begun.docker.hasEnded);
    assert.equal(begun.docker.body, 'in');
    begun.docker.write('put');
    begun.docker.socket.end();
    assert.equal(await reading, 'output');
  });
}
