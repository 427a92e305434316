/** Docker's answer on its way to the client: as it is, but nothing that a hostile host could say in this server's name. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { type AnswerHead, answerHead, answerHeaders, sendAnswer } from '../../../../server/docker-proxy/answer.ts';
import type { HeaderPair } from '../../../../shared/docker/headers.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { within } from '../../../support/wait.ts';
import { type HostStream, hostStream } from './hostile-host.ts';

const GUARDS: HeaderPair[] = [
  ['x-content-type-options', 'nosniff'],
  ['content-security-policy', "default-src 'none'; sandbox"],
  ['cache-control', 'no-store'],
  ['x-request-id', 'r1'],
];
const isBad = (error: unknown) => isFairleadError(error, 'DOCKER_ERROR');

interface Serving extends HostStream {
  readonly port: number;
  /** Settles as sending the answer does. */
  readonly sent: Promise<void>;
  readonly abort: AbortController;
}

/** A server that answers with what the host says, or with another head. */
async function serving(t: TestContext, reply: Parameters<typeof hostStream>[0], other?: AnswerHead): Promise<Serving> {
  const host = hostStream(reply);
  const abort = new AbortController();
  const { promise: sent, resolve, reject } = Promise.withResolvers<void>();
  sent.catch(() => undefined);
  const server = createServer((request, response) => {
    const head = other ?? answerHead(host.stream, 'r1');
    sendAnswer(request, response, head, host.stream, abort.signal).then(resolve, reject);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { ...host, port: (server.address() as { port: number }).port, sent, abort };
}

async function get({ port }: Serving, method = 'GET'): Promise<IncomingMessage> {
  const asked = httpRequest({ port, host: '127.0.0.1', method, agent: false });
  asked.end();
  const [response] = (await within(5_000, 'a response', once(asked, 'response'))) as [IncomingMessage];
  return response;
}

/** The answer broke off: what came of it, which is not taken for the whole. */
async function broken(response: IncomingMessage): Promise<string> {
  let received = '';
  response.on('data', (chunk) => {
    received += chunk;
  });
  response.on('end', () => assert.fail('it looks whole'));
  await within(5_000, 'the end', once(response, 'error'));
  assert.equal(response.complete, false);
  return received;
}

test('headers of Docker pass as they are; what is between two neighbours does not', () => {
  const docker: HeaderPair[] = [
    ['Api-Version', '1.41'],
    ['Content-Type', 'application/x-tar'],
    ['X-Docker-Container-Path-Stat', 'e30='],
    ['Content-Length', '5'],
    ['X-A', '1'],
    ['x-a', '2'],
  ];
  const hops: HeaderPair[] = [
    ['Connection', 'close'],
    ['transfer-encoding', 'chunked'],
    ['Upgrade', 'h2c'],
    ['TE', 'x'],
  ];
  assert.deepEqual(answerHeaders([...docker, ...hops, ['X-Request-Id', 'forged']], 'r1'), [...docker, ...GUARDS]);
});

test("what a browser would take for this server's word is not a host's to say, in any letter case", () => {
  const names = [
    ...['Set-Cookie', 'Clear-Site-Data', 'Strict-Transport-Security', 'WWW-Authenticate', 'Alt-Svc', 'Refresh', 'Link'],
    ...['Access-Control-Allow-Origin', 'Access-Control-Allow-Credentials', 'Access-Control-Anything'],
    ...['Cross-Origin-Opener-Policy', 'Cross-Origin-Resource-Policy', 'Service-Worker-Allowed'],
    ...['Content-Security-Policy', 'X-Content-Type-Options', 'X-Request-Id'],
  ];
  const headers = names.flatMap((name): HeaderPair[] => [
    [name, '*'],
    [name.toUpperCase(), '*'],
    [name.toLowerCase(), '*'],
  ]);
  assert.deepEqual(answerHeaders(headers, 'r1'), GUARDS);
});

test('what a browser remembers of a whole origin is not a host’s to say', () => {
  // Where its errors are reported to, what is told of clients, whether somebody is logged in.
  const names = ['NEL', 'Report-To', 'Accept-CH', 'Set-Login'];
  const headers = names.map((name): HeaderPair => [name, 'x']);
  assert.deepEqual(answerHeaders(headers, 'r1'), GUARDS);
});

test('a page of a hostile host can do nothing in the origin of this server', async (t) => {
  const page = '<script>fetch("/api/v1/api-tokens")</script>';
  const headers: HeaderPair[] = [
    ['Content-Type', 'text/html'],
    ['Set-Cookie', 'session=x'],
    ['Access-Control-Allow-Origin', '*'],
  ];
  const it = await serving(t, { headers });
  it.bytes.end(page);
  it.trailer.resolve({ headers: [] });
  const response = await get(it);
  assert.equal(await text(response), page);
  assert.equal(response.headers['content-security-policy'], "default-src 'none'; sandbox");
  assert.equal(response.headers['x-content-type-options'], 'nosniff');
  assert.equal(response.headers['set-cookie'], undefined);
  assert.equal(response.headers['access-control-allow-origin'], undefined);
});

test('an answer that HTTP does not have is an error', () => {
  const lengths = ['x', '', '-1', '+1', '1.5', '0x1', '1, 1', ' 1', '9'.repeat(16)];
  for (const length of lengths) {
    const { stream } = hostStream({ headers: [['Content-Length', length]] });
    assert.throws(() => answerHead(stream, 'r1'), isBad, JSON.stringify(length));
  }
  const twice = hostStream({
    headers: [
      ['Content-Length', '1'],
      ['content-length', '1'],
    ],
  });
  assert.throws(() => answerHead(twice.stream, 'r1'), isBad);
  for (const status of [100, 101, 199]) assert.throws(() => answerHead(hostStream({ status }).stream, 'r1'), isBad);
  assert.throws(() => answerHead(hostStream({ upgraded: true }).stream, 'r1'), isBad);
  assert.equal(answerHead(hostStream({ headers: [['Content-Length', '007']] }).stream, 'r1').length, 7);
  assert.equal(answerHead(hostStream().stream, 'r1').length, 'open');
});

test('an answer whose lines HTTP does not have is an error before anything of it is sent', () => {
  const refused = (reply: Parameters<typeof hostStream>[0]) =>
    assert.throws(() => answerHead(hostStream(reply).stream, 'r1'), FairleadError, JSON.stringify(reply));
  // On the wire of the mesh they are Unicode; in HTTP they are bytes, and end at CR and LF.
  for (const reason of ['OK\r\nSet-Cookie: session=x', 'OK\nX: y', 'a\0b', '\u010d\u010aX: y']) refused({ reason });
  for (const value of ['\u20ac', '\u010d\u010aSet-Cookie: session=x']) refused({ headers: [['X-A', value]] });
});

test('an answer that cannot be written breaks the connection off, and leaves no client waiting', async (t) => {
  const it = await serving(t, {}, { status: 200, reason: 'OK\nX: y', headers: [], length: 'open' });
  const asked = httpRequest({ port: it.port, host: '127.0.0.1', agent: false });
  asked.end();
  await assert.rejects(within(3_000, 'the end', once(asked, 'response')), { code: 'ECONNRESET' });
});

test('the head comes at once, the body as it comes, and its end with the trailer', async (t) => {
  const it = await serving(t, {
    status: 299,
    reason: 'Quite Fine',
    headers: [
      ['Trailer', 'X-T'],
      ['X-A', '1'],
    ],
  });
  const response = await get(it);
  assert.deepEqual([response.statusCode, response.statusMessage], [299, 'Quite Fine']);
  assert.equal(response.headers['x-a'], '1');
  it.bytes.write('one');
  const [first] = await once(response, 'data');
  assert.equal(String(first), 'one');
  it.bytes.end();
  const reading = text(response);
  it.trailer.resolve({ headers: [['X-T', '1']] });
  assert.equal(await reading, '');
  assert.deepEqual(response.rawTrailers, ['X-T', '1']);
  await it.sent;
});

test('a HEAD, 204 and 304 have a head alone, with the length that was said', async (t) => {
  for (const [method, status] of [
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
  ] as const) {
    const it = await serving(t, { status, headers: status === 204 ? [] : [['Content-Length', '5']] });
    it.bytes.end('hello');
    it.trailer.resolve({ headers: [] });
    const response = await get(it, method);
    assert.equal(response.headers['content-length'], status === 204 ? undefined : '5');
    assert.equal(await text(response), '');
    await it.sent;
  }
});

for (const [name, body] of [
  ['longer', 'helloHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'],
  ['shorter', 'hel'],
] as const) {
  test(`a body that is ${name} than its host says breaks the connection off, and the next answer is never its own`, async (t) => {
    const it = await serving(t, { headers: [['Content-Length', '5']] });
    it.bytes.end(body);
    it.trailer.resolve({ headers: [] });
    const socket = connect(it.port, '127.0.0.1');
    t.after(() => socket.destroy());
    socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n');
    const answer = await within(
      5_000,
      'the end',
      text(socket).catch((error: unknown) => String(error)),
    );
    assert.doesNotMatch(answer, /forged/);
    assert.equal(answer.split('HTTP/1.1 200').length, 2, answer);
    await assert.rejects(it.sent, (error) => isFairleadError(error, 'VALIDATION'));
  });
}

for (const [name, headers] of [
  ['in chunks', []],
  ['of so many bytes', [['Content-Length', '10']]],
] as const) {
  test(`a stream that is interrupted within a body ${name} breaks the answer off`, async (t) => {
    const it = await serving(t, { headers: headers.map(([...pair]) => pair) as HeaderPair[] });
    const response = await get(it);
    it.bytes.write('half');
    const received = broken(response);
    await once(response, 'data');
    it.bytes.destroy(new FairleadError('STREAM_INTERRUPTED', 'lost'));
    assert.equal(await received, 'half');
    await assert.rejects(it.sent, (error) => isFairleadError(error, 'STREAM_INTERRUPTED'));
  });
}

test('a body that has ended without its trailer breaks the answer off', async (t) => {
  const it = await serving(t, {});
  const response = await get(it);
  it.bytes.end('all');
  const received = broken(response);
  it.trailer.reject(new FairleadError('STREAM_INTERRUPTED', 'lost'));
  assert.equal(await received, 'all');
});

test('a signal breaks the answer off with its own reason', async (t) => {
  const it = await serving(t, {});
  const response = await get(it);
  const received = broken(response);
  it.bytes.write('half');
  await once(response, 'data');
  it.abort.abort(new FairleadError('UNAUTHORIZED', 'revoked'));
  await received;
  await assert.rejects(it.sent, (error) => isFairleadError(error, 'UNAUTHORIZED'));
});
