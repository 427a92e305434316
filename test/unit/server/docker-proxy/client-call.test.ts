/** What is read of a client's request, which comes over a real connection: Node's own reader has its say first. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { type ClientCall, isDockerPath, readClientCall } from '../../../../server/docker-proxy/client-call.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { fileCleanup } from '../../../support/tmp.ts';

const BASE = '/api/v1/hosts/edge-1/docker';
const cleanup = fileCleanup();
let port: number;

before(async () => {
  const server = createServer((request, response) => {
    try {
      response.end(JSON.stringify(readClientCall(request)));
    } catch (error) {
      response.statusCode = isFairleadError(error, 'VALIDATION') ? 422 : 500;
      response.end(String(error));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.after(() => server.close());
  ({ port } = server.address() as { port: number });
});

/** Sends bytes as they are. @returns status and body of the answer */
async function send(bytes: string): Promise<{ status: number; body: string }> {
  const socket = connect(port, '127.0.0.1');
  socket.end(Buffer.from(bytes, 'latin1'));
  const answer = (await text(socket)).replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '');
  const [head = '', ...body] = answer.split('\r\n\r\n');
  return { status: Number(head.split(' ')[1]), body: body.join('\r\n\r\n') };
}

/** The call that a request is, with these header lines. */
async function read(method: string, url: string, headers: readonly string[] = [], body = ''): Promise<ClientCall> {
  const lines = [`${method} ${url} HTTP/1.1`, 'Host: server', 'Connection: close', ...headers, '', body];
  const { status, body: answer } = await send(lines.join('\r\n'));
  assert.equal(status, 200, answer);
  return JSON.parse(answer) as ClientCall;
}

test('a call is its method, its target as it was sent, and what Docker does at it', async () => {
  const target = '/v1.41/images/registry:5000/team%2Dx/app:1/tag?repo=x%20y&tag=%2F..';
  assert.deepEqual(await read('POST', `${BASE}${target}`), {
    method: 'POST',
    target,
    path: ['images', 'registry:5000', 'team-x', 'app:1', 'tag'],
    call: { name: 'image.tag', role: 'operator', policy: 'change' },
    headers: [],
    body: 'none',
  });
  const inner = await read('GET', `${BASE}/x${BASE}/containers/json`);
  assert.equal(inner.target, `/x${BASE}/containers/json`, 'the prefix is taken once');
  assert.equal(inner.call.role, 'admin');
});

test('a path that could be read in two ways is refused, here or by Node before', async () => {
  const tricks = [
    '/containers/../secrets',
    '/containers/./json',
    '/containers/%2e%2e/secrets',
    '/containers/.%2E/secrets',
    '/containers%2f..%2fsecrets',
    '/containers%2Fjson',
    '/containers%5cjson',
    '/containers\\json',
    '/containers%00',
    '/containers\0',
    '/containers\t/json',
    '/containers%0d%0aHost:%20x/json',
    '/containers%20/json',
    '/%252e%252e/secrets',
    '//containers/json',
    '/containers//json',
    '/containers/json/',
    '/v1.41',
    '/',
    '/containers%/json',
    '/containers%zz/json',
    '/containers%ff/json',
    '/cont\xe4iners/json',
    '/containers/json#x',
    '/containers%23/json',
    '/containers%3fx/json',
    `/${'x'.repeat(5000)}`,
  ];
  for (const trick of tricks) {
    const { status } = await send(`GET ${BASE}${trick} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.ok(status === 422 || status === 400, `${JSON.stringify(trick)}: ${status}`);
  }
});

test('a path that is not behind /docker of one host is none of these calls', async () => {
  const paths = [
    `http://server${BASE}/containers/json`,
    `/api/v1/hosts/edge-1/%64ocker/containers/json`,
    `/api/v1/hosts//docker/containers/json`,
    `/api/v1/hosts/a/b/docker/containers/json`,
    `//api/v1/hosts/edge-1/docker/containers/json`,
    `/api/v1/../v1/hosts/edge-1/docker/containers/json`,
    BASE,
    `${BASE}?x=/docker/containers/json`,
    `${BASE}er/containers/json`,
  ];
  for (const path of paths) {
    const { status } = await send(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.equal(status, 422, path);
    assert.equal(isDockerPath(path), false, path);
  }
  assert.equal(isDockerPath(undefined), false);
});

test('what belongs to Docker is known by its path, whatever stands behind it', () => {
  for (const path of [`${BASE}/x`, `${BASE}/?x`, '/api/v1/hosts/a%2Fb/docker/x?y']) {
    assert.ok(isDockerPath(path), path);
  }
});

test('what is between the client and this server goes no further, in any letter case', async () => {
  const own = [
    'Authorization: Bearer secret',
    'AUTHORIZATION: Bearer secret',
    'Cookie: session=secret',
    'X-CSRF-Token: secret',
    'Proxy-Authorization: Basic secret',
    'X-Fairlead-Host: edge-1',
    'X-Forwarded-For: 10.0.0.1',
    'x-forwarded-client-cert: secret',
    'Forwarded: for=10.0.0.1',
    'X-Real-IP: 10.0.0.1',
    'X-Request-Id: 1',
    'Origin: https://x',
    'Referer: https://x/?secret',
    'Sec-Fetch-Mode: cors',
    'Via: 1.1 x',
    'Accept-Encoding: gzip',
  ];
  const hops = ['Keep-Alive: x', 'TE: trailers', 'Proxy-Connection: x', 'Trailer: X-T', 'Upgrade: tcp', 'X-Hop: 1'];
  const docker = [
    'User-Agent: Docker-Client/28',
    'X-Registry-Auth: e30=',
    'x-a: 1',
    'X-A: 2',
    'Content-Type: application/json',
  ];
  const { headers } = await read('GET', `${BASE}/info`, [...own, ...docker, ...hops, 'Connection: x-hop']);
  assert.deepEqual(
    headers,
    docker.map((line) => line.split(': ')),
  );
});

test('how a body is framed is read, and not passed on', async () => {
  const path = `${BASE}/containers/create`;
  for (const [lines, body, expected] of [
    [['Content-Length: 2'], '{}', 2],
    [['content-length: 002'], '{}', 2],
    [['Content-Length: 0'], '', 'none'],
    [[], '', 'none'],
    [['Transfer-Encoding: chunked'], '2\r\n{}\r\n0\r\n\r\n', 'chunked'],
    [['transfer-encoding: Chunked'], '0\r\n\r\n', 'chunked'],
    [['Content-Length: 2', 'Expect: 100-continue'], '{}', 2],
  ] as const) {
    const call = await read('POST', path, lines, body);
    assert.deepEqual([call.body, call.headers], [expected, []], lines.join());
  }
});

test('a body with two framings, or one that is not known, is refused', async () => {
  for (const lines of [
    ['Content-Length: 2', 'Transfer-Encoding: chunked'],
    ['Content-Length: 2', 'Content-Length: 3'],
    ['Content-Length: 2', 'Content-Length: 2'],
    ['Content-Length: +2'],
    ['Content-Length: 2, 2'],
    ['Content-Length: -2'],
    ['Transfer-Encoding: gzip, chunked'],
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding: xchunked'],
    ['Transfer-Encoding: identity'],
    ['Transfer-Encoding : chunked'],
  ]) {
    const head = [`POST ${BASE}/containers/create HTTP/1.1`, 'Host: x', 'Connection: close', ...lines, '', ''].join(
      '\r\n',
    );
    const { status } = await send(`${head}0\r\n\r\n`);
    assert.ok(status === 422 || status === 400, `${lines.join()}: ${status}`);
  }
});
