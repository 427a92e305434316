/** Standard mode over sockets, before a Docker that answers as each test says. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createConnection, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { HawserStandard } from '../../../../agent/hawser/standard.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { defer } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { rawDocker } from '../docker/raw-docker.ts';
import { AGENT_ID, type ContextOptions, contextAt, type Fixture, fixture, TOKEN, tlsPair } from './fixture.ts';

const VERSION_ANSWER = ['HTTP/1.1 200 OK', 'Content-Length: 29', '', '{"Version":"99","Api":"1.41"}'];

interface Opened extends Fixture {
  readonly standard: HawserStandard;
  readonly port: number;
}

async function opened(t: TestContext, made: Fixture): Promise<Opened> {
  const standard = await HawserStandard.open({ host: '127.0.0.1', port: 0, token: TOKEN }, made.context);
  defer(t, () => standard.close());
  return { ...made, standard, port: standard.port };
}

const over = async (t: TestContext, answer: RequestListener, options: ContextOptions = {}) =>
  await opened(t, await fixture(t, answer, options));

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every kind
  readonly json: any;
}

async function ask(
  port: number,
  method: string,
  path: string,
  { headers = { 'X-Hawser-Token': TOKEN }, body }: { headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  const outgoing = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false });
  outgoing.end(body);
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const answer = await text(response);
  const isJson = response.headers['content-type']?.includes('json') === true && answer !== '';
  return {
    ...{ status: response.statusCode, headers: response.headers, body: answer },
    json: isJson ? JSON.parse(answer) : undefined,
  };
}

/** A connection of bare bytes to the listener. */
function bare(t: TestContext, port: number): Socket & { received: string } {
  const socket = Object.assign(createConnection({ host: '127.0.0.1', port, allowHalfOpen: true }), { received: '' });
  socket.on('data', (chunk: Buffer) => {
    socket.received += chunk.toString('latin1');
  });
  socket.on('error', () => undefined);
  defer(t, async () => void socket.destroy());
  return socket;
}

const head = (method: string, path: string, ...headers: string[]) =>
  [`${method} ${path} HTTP/1.1`, 'Host: x', `X-Hawser-Token: ${TOKEN}`, ...headers, '', ''].join('\r\n');

test('health is open to all, and all else to who has the token', async (t) => {
  const { port } = await over(t, (_request, response) => response.end('OK'));
  const health = await ask(port, 'GET', '/_hawser/health', { headers: {} });
  assert.deepEqual([health.status, health.json], [200, { status: 'healthy' }]);
  for (const headers of [{}, { 'X-Hawser-Token': 'nope' }, { Authorization: `Bearer ${TOKEN}` }]) {
    for (const path of ['/_hawser/info', '/_hawser/compose', '/version', `/_ping?token=${TOKEN}`]) {
      const refused = await ask(port, 'GET', path, { headers: headers as Record<string, string> });
      const isLimited = refused.status === 429;
      assert.ok(refused.status === 401 || isLimited, path);
      if (!isLimited) assert.equal(refused.body, 'Unauthorized\n');
      assert.equal(refused.headers['x-content-type-options'], 'nosniff');
      assert.equal(refused.headers['content-type'], 'text/plain; charset=utf-8');
    }
  }
  const info = await ask(port, 'GET', '/_hawser/info');
  const { agentId, agentName, dockerVersion, hawserVersion, mode, uptime } = info.json;
  assert.deepEqual([agentId, agentName, dockerVersion, mode, uptime], [AGENT_ID, 'shed', '99.0', 'standard', 0]);
  assert.match(hawserVersion, /^0\.2\.\d+\+fairlead\.\d/);
});

test('who guesses is told to wait, and then no token helps', async (t) => {
  const { port, lines } = await over(t, (_request, response) => response.end('OK'));
  const guess = (token: string) => ask(port, 'GET', '/_ping', { headers: { 'X-Hawser-Token': token } });
  const statuses: (number | undefined)[] = [];
  for (let n = 0; n < 12; n++) statuses.push((await guess(`guess-number-${n}`)).status);
  assert.deepEqual(statuses, [...Array.from({ length: 10 }, () => 401), 429, 429]);
  const limited = await guess(TOKEN);
  assert.equal(limited.status, 429);
  assert.ok(Number(limited.headers['retry-after']) > 0);
  assert.equal((await ask(port, 'GET', '/_hawser/health', { headers: {} })).status, 200);
  assert.ok(lines.some((line) => /refused a client/.test(line)));
  assert.ok(!lines.some((line) => line.includes(TOKEN) || /guess-number/.test(line)), 'tokens are not logged');
});

test('health says when Docker is away', async (t) => {
  const made = await contextAt(t, '/no/such/docker.sock');
  const { port } = await opened(t, made);
  const health = await ask(port, 'GET', '/_hawser/health', { headers: {} });
  assert.deepEqual([health.status, health.json], [503, { status: 'unhealthy' }]);
  const call = await ask(port, 'GET', '/containers/json');
  assert.equal(call.status, 502);
  assert.match(call.json.message, /Docker is not reachable/);
  assert.equal((await ask(port, 'GET', '/_hawser/info')).json.dockerVersion, 'unknown');
});

test('a call goes to Docker as it is, but for what is between the client and the agent', async (t) => {
  const seen: { line: string; headers: IncomingHttpHeaders; body: string }[] = [];
  const { port } = await over(t, async (request, response) => {
    const line = `${request.method} ${request.url}`;
    seen.push({ line, headers: request.headers, body: await text(request) });
    response.writeHead(418, 'Odd', { 'X-Twice': ['a', 'b'], 'Content-Type': 'text/x-odd' });
    response.end('body\xff', 'latin1');
  });
  const headers = {
    ...{ 'X-Hawser-Token': TOKEN, Authorization: 'Bearer secret', Cookie: 'a=b', 'X-Forwarded-For': '192.0.2.1' },
    ...{ 'X-Registry-Auth': 'e30=', 'Content-Type': 'application/x-odd', Connection: 'close' },
  };
  const answer = await ask(port, 'POST', '/v1.41/build?q=%20x', { headers, body: 'the body' });
  assert.equal(answer.status, 418);
  assert.equal(answer.headers['x-twice'], 'a, b');
  const [{ line, headers: given, body } = assert.fail('Docker was not asked')] = seen;
  assert.deepEqual([line, body], ['POST /v1.41/build?q=%20x', 'the body']);
  assert.equal(given['x-registry-auth'], 'e30=');
  assert.equal(given['content-type'], 'application/x-odd');
  for (const name of ['x-hawser-token', 'authorization', 'cookie', 'x-forwarded-for'])
    assert.equal(given[name], undefined);
});

test("the host's policy holds for each call, by whichever spelling", async (t) => {
  const asked: string[] = [];
  const answer: RequestListener = (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end('{}');
  };
  const { port } = await over(t, answer, { allow: ['read-only'], deny: ['docker:GET /images/**'] });
  assert.equal((await ask(port, 'GET', '/containers/json')).status, 200);
  const denied: [string, string][] = [
    ['POST', '/containers/x/stop'],
    ['POST', '/v1.41/containers/x/stop'],
    ['POST', '/containers/x/exec'],
    ['GET', '/images/json'],
    ['GET', '/secrets'],
    ['DELETE', '/containers/x'],
  ];
  for (const [method, path] of denied) {
    const refused = await ask(port, method, path);
    assert.equal(refused.status, 403, path);
    assert.match(refused.json.message, /this host's policy/);
  }
  for (const path of [
    '/containers/../images/json',
    '//images/json',
    '/images%2fjson',
    '/./images/json',
    '/%69mages//json',
  ]) {
    const refused = await ask(port, 'GET', path);
    assert.equal(refused.status, 400, path);
    assert.match(refused.json.message, /normal form/);
  }
  assert.equal((await ask(port, 'GET', '/%69mages/json')).status, 403);
  const upgrade = { 'X-Hawser-Token': TOKEN, Connection: 'Upgrade', Upgrade: 'tcp', 'Content-Length': '2' };
  const exec = await ask(port, 'POST', '/exec/0/start', { headers: upgrade, body: '{}' });
  assert.equal(exec.status, 403);
  assert.deepEqual(asked, ['GET /containers/json']);
});

test('an answer streams as it comes, without an end of our own, and breaks where Docker breaks', async (t) => {
  const clock = new FakeClock();
  const docker = await rawDocker(t);
  const making = contextAt(t, docker.socket, { clock });
  const probe = await docker.connection();
  await probe.request();
  probe.write(...VERSION_ANSWER);
  const { port } = await opened(t, await making);
  const client = bare(t, port);
  client.write(head('GET', '/containers/x/logs?follow=1'));
  const upstream = await docker.connection(1);
  await upstream.request();
  upstream.write('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', '', '');
  await waitFor('the head', () => client.received.includes('\r\n\r\n'));
  upstream.write('5', 'first', '');
  await waitFor('the first bytes', () => client.received.includes('first'));
  clock.advance(3_600_000);
  upstream.write('6', 'second', '');
  await waitFor('the second ones', () => client.received.includes('second'));
  upstream.socket.destroy();
  await waitFor('the end', () => client.destroyed || client.readableEnded);
  assert.doesNotMatch(client.received, /\r\n0\r\n\r\n$/, 'it is no clean end');
});

test('a client that leaves ends its call at Docker', async (t) => {
  const left = Promise.withResolvers<void>();
  const { port } = await over(t, (request, response) => {
    request.socket.once('close', () => left.resolve());
    response.write('a log that goes on');
  });
  const client = bare(t, port);
  client.write(head('GET', '/containers/x/logs?follow=1'));
  await waitFor('the log', () => client.received.includes('goes on'));
  client.destroy();
  await within(2_000, 'the end of the call', left.promise);
});

test('a slow reader holds up Docker, and not the memory', async (t) => {
  let written = 0;
  const block = Buffer.alloc(64 * 1024);
  const { port } = await over(t, (_request, response) => {
    const more = () => {
      while (written < 256 * block.byteLength) {
        written += block.byteLength;
        if (!response.write(block)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  const client = createConnection({ host: '127.0.0.1', port });
  defer(t, async () => void client.destroy());
  client.pause();
  client.write(head('GET', '/containers/x/export', 'Connection: close'));
  let before = -1;
  await waitFor(
    'Docker to be held up',
    () => {
      const isStill = written > 0 && written === before;
      before = written;
      return isStill;
    },
    { everyMs: 200 },
  );
  assert.ok(written < 200 * block.byteLength, `${written} bytes`);
  let bytes = 0;
  client.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength;
  });
  client.resume();
  await within(5_000, 'the rest', once(client, 'end'));
  assert.ok(bytes > 256 * block.byteLength);
});

test('a connection that Docker hands over is joined, and each half of it ends by itself', async (t) => {
  const received: string[] = [];
  const made = await fixture(t, (_request, response) => response.end('{}'), {
    hijacked: async (connection, request) => {
      received.push(`${request.method} ${request.url} ${await text(request)}`);
      connection.on('data', (chunk: Buffer) => received.push(chunk.toString()));
      // Docker answers once it has seen the end of the input.
      connection.once('end', () => connection.end('the output'));
    },
  });
  const { port } = await opened(t, made);
  for (const [path, body] of [
    ['/exec/abc/start', '{"Detach":false,"Tty":true}'],
    ['/v1.41/containers/abc/attach?stdin=1&stream=1', ''],
  ] as const) {
    received.length = 0;
    const client = bare(t, port);
    client.write(
      `${head('POST', path, 'Connection: Upgrade', 'Upgrade: tcp', `Content-Length: ${body.length}`)}${body}`,
    );
    await waitFor('the upgrade', () => client.received.includes('\r\n\r\n'));
    assert.match(client.received, /^HTTP\/1\.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n/);
    client.write('typed');
    client.end();
    await waitFor('the end', () => client.readableEnded);
    assert.ok(client.received.endsWith('the output'));
    assert.deepEqual([received[0], received.slice(1).join('')], [`POST ${path} ${body}`, 'typed']);
    // All at once, and the end of it before there is an answer.
    received.length = 0;
    const hasty = bare(t, port);
    const length = `Content-Length: ${body.length}`;
    hasty.end(`${head('POST', path, 'Connection: Upgrade', 'Upgrade: tcp', length)}${body}typed`);
    await waitFor('the end', () => hasty.readableEnded);
    assert.match(hasty.received, /^HTTP\/1\.1 101 [\s\S]*the output$/);
    assert.equal(received.slice(1).join(''), 'typed');
  }
});

test('an upgrade that Docker refuses has its status and its body', async (t) => {
  const docker = await rawDocker(t);
  const making = contextAt(t, docker.socket);
  const probe = await docker.connection();
  await probe.request();
  probe.write(...VERSION_ANSWER);
  const { port } = await opened(t, await making);
  const client = bare(t, port);
  client.write(head('POST', '/exec/0000/start', 'Connection: Upgrade', 'Upgrade: tcp', 'Content-Length: 2'));
  client.write('{}');
  const upstream = await waitFor('the call', () =>
    docker.connections.find((one) => one.received.startsWith('POST /exec/0000/start')),
  );
  upstream.write(
    'HTTP/1.1 404 Not Found',
    'Content-Type: application/json',
    'Content-Length: 14',
    '',
    '{"message":""}',
  );
  await waitFor('the end', () => client.readableEnded);
  assert.match(client.received, /^HTTP\/1\.1 404 Not Found\r\n[\s\S]*\{"message":""\}/);
});

test('Compose is served by what changes stacks here, with the replies of Hawser', async (t) => {
  const { port, stacks } = await over(t, (_request, response) => response.end('{}'));
  const compose = async (body: object | string) =>
    await ask(port, 'POST', '/_hawser/compose', { body: typeof body === 'string' ? body : JSON.stringify(body) });
  const get = await ask(port, 'GET', '/_hawser/compose');
  assert.deepEqual(
    [get.status, get.json],
    [405, { success: false, output: '', error: 'Method not allowed', exitCode: 0 }],
  );
  const bad = await compose('{');
  assert.equal(bad.status, 400);
  assert.match(bad.json.error, /^Invalid request body: /);
  assert.deepEqual([bad.json.success, bad.json.output, bad.json.exitCode], [false, '', 0]);

  stacks.lines = ['Container web Started'];
  const up = await compose({ operation: 'up', projectName: 'shop', composeFile: 'services: {}', envVars: { A: 'b' } });
  assert.deepEqual([up.status, up.json], [200, { success: true, output: 'Container web Started\n', exitCode: 0 }]);
  const [{ kind, params } = assert.fail('nothing was changed')] = stacks.changes;
  assert.deepEqual(
    [kind, params.stack, params.compose, params.env],
    ['stack.deploy', 'shop', 'services: {}', { A: 'b' }],
  );

  stacks.failure = new FairleadError('DOCKER_ERROR', 'compose up failed: no such image');
  const failed = await compose({ operation: 'up', projectName: 'shop', composeFile: 'services: {}' });
  assert.equal(failed.status, 500);
  assert.deepEqual(failed.json, {
    ...{ success: false, output: '', error: 'DOCKER_ERROR: compose up failed: no such image', exitCode: 1 },
  });
  const none = await compose({ operation: 'config', projectName: 'shop' });
  assert.equal(none.status, 500);
  assert.match(none.json.error, /unsupported compose operation: config/);
});

test('one address has so many connections at most, and its others go on', async (t) => {
  const { port } = await over(t, (_request, response) => response.end('OK'));
  const held = Array.from({ length: 256 }, () => bare(t, port));
  await Promise.all(held.map((socket) => once(socket, 'connect')));
  const [first = assert.fail()] = held;
  first.write(head('GET', '/_ping'));
  await waitFor('an answer', () => first.received.includes('OK'));
  const more = bare(t, port);
  await waitFor('the end of one too many', () => more.readableEnded || more.destroyed);
  assert.equal(more.received, '');
  held.pop()?.destroy();
  await waitFor('a place', async () => (await ask(port, 'GET', '/_ping')).status === 200);
});

test('says what is wrong with the place to listen on', async (t) => {
  const { port, context } = await over(t, (_request, response) => response.end());
  const again = HawserStandard.open({ host: '127.0.0.1', port, token: TOKEN }, context);
  const isInUse = (error: unknown) =>
    isFairleadError(error, 'CONFLICT') && /in use.*--hawser-standard/.test(error.message);
  await assert.rejects(again, isInUse);
  const elsewhere = HawserStandard.open({ host: '192.0.2.1', port: 0, token: TOKEN }, context);
  await assert.rejects(elsewhere, (error) => isFairleadError(error, 'VALIDATION'));
});

test('with TLS it speaks HTTP/1.1 alone, and nothing older than TLS 1.2', async (t) => {
  const made = await fixture(t, (_request, response) => response.end('over TLS'));
  const { ca, ...tls } = await tlsPair();
  const standard = await HawserStandard.open({ host: '127.0.0.1', port: 0, token: TOKEN, tls }, made.context);
  defer(t, () => standard.close());
  const get = async (options: object) => {
    const headers = { 'X-Hawser-Token': TOKEN };
    const outgoing = httpsRequest({
      host: '127.0.0.1',
      port: standard.port,
      path: '/_ping',
      ca,
      agent: false,
      headers,
      ...options,
    });
    outgoing.end();
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    return await text(response);
  };
  assert.equal(await get({ ALPNProtocols: ['h2', 'http/1.1'] }), 'over TLS');
  await assert.rejects(get({ ca: undefined }), /self-signed|unable to/);
  await assert.rejects(get({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
});

test('a stop lets answers end, cuts streams after a while, and takes nothing more', async (t) => {
  const clock = new FakeClock();
  let finish: (() => void) | undefined;
  const { port, standard } = await over(
    t,
    (request, response) => {
      if (request.url === '/containers/x/json') finish = () => response.end('in time');
      else response.write('a log');
    },
    { clock },
  );
  const answer = ask(port, 'GET', '/containers/x/json');
  const log = bare(t, port);
  log.write(head('GET', '/containers/x/logs?follow=1'));
  await waitFor('both calls', () => finish !== undefined && log.received.includes('a log'));
  const closing = standard.close();
  finish?.();
  assert.equal((await answer).body, 'in time');
  assert.ok(!log.readableEnded);
  await assert.rejects(ask(port, 'GET', '/_hawser/health'), /ECONNREFUSED/);
  clock.advance(3_000);
  await within(3_000, 'the stop', closing);
  await waitFor('the end of the log', () => log.readableEnded || log.destroyed);
});
