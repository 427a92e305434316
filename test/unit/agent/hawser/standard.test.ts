/** Standard mode over sockets, before a Docker that answers as each test says: who gets in, and what is asked. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, RequestListener } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { HawserStandard } from '../../../../agent/hawser/standard.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { defer } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { AGENT_ID, contextAt, fixture, TOKEN, tlsPair } from './fixture.ts';
import { ask, bare, head, opened, over } from './standard-fixture.ts';

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
