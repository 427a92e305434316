/** API tokens from outside: what they hold open ends with them, and with the scope they were given. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { runCliHere } from '../support/cli.ts';
import { type TestContainer, testContainer } from '../support/docker.ts';
import { ExecClient } from '../support/exec-client.ts';
import { Api } from '../support/http.ts';
import { addHost, enroll, modeOf, type Server, startServer } from '../support/mesh.ts';
import { type Cleanup, defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { within } from '../support/wait.ts';

/** Within which a stream ends once its token, or its right to the host, has. */
const END_MS = 1_000;

const shared = fileCleanup();
let server: Server;
let container: TestContainer;
/** Time enough to open all streams on this machine, in ms. */
let lifeMs: number;

before(async () => {
  server = await startServer(shared);
  await addHost(shared, server, 'shed');
  await enroll(shared, server, 'vault');
  container = await testContainer(shared);
  // The first time takes longest.
  await openStreams(shared, server.api);
  const began = performance.now();
  await openStreams(shared, server.api);
  lifeMs = Math.max(2_000, 5 * (performance.now() - began));
});

interface Made {
  id: string;
  api: Api;
}

async function makeToken(body: object = {}): Promise<Made> {
  const answer = await server.api.post('/api/v1/api-tokens', { name: 'test', role: 'operator', ...body });
  assert.equal(answer.status, 201, answer.text);
  return { id: answer.body.id, api: withToken(answer.body.token) };
}

function withToken(token: string): Api {
  return new Api({ url: server.runtime.apiUrl, ca: server.caPem, token });
}

interface Streams {
  /** Which have ended. */
  readonly ended: Set<string>;
  /** Resolves once all have. */
  readonly end: Promise<unknown>;
}

/** A followed log, statistics and an exec, all of which would go on for ever. */
async function openStreams(t: Cleanup, api: Api): Promise<Streams> {
  const base = `/api/v1/hosts/shed/containers/${container.id}`;
  const log = await api.open('GET', `${base}/logs?follow=1`);
  const stats = await api.open('GET', `${base}/stats`);
  const exec = await ExecClient.open(api, 'shed', container.id, { cmd: ['cat'] });
  defer(t, () => {
    log.destroy();
    stats.destroy();
    exec.webSocket.terminate();
  });
  for (const response of [log, stats]) assert.equal(response.statusCode, 200);
  exec.type('hello\n');
  await exec.waitForOutput(/hello/);
  const ended = new Set<string>();
  const noted = (name: string, end: Promise<unknown>) => end.then(() => ended.add(name));
  const all = [noted('log', endOf(log)), noted('stats', endOf(stats)), noted('exec', exec.closed)];
  return { ended, end: Promise.all(all) };
}

function endOf(response: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    response.once('close', resolve);
    response.on('error', () => undefined); // a stream that is cut off has closed as well
    response.resume();
  });
}

/** Waits for the end of all streams, 1 s from now at most. */
async function endSoon(streams: Streams): Promise<void> {
  await within(END_MS, 'the end of all streams', streams.end, () => `ended: ${[...streams.ended].join()}`);
}

test('a revoked token loses what it holds open within 1 s, and no other token does', async (t) => {
  const [revoked, other] = [await makeToken(), await makeToken()];
  const streams = await openStreams(t, revoked.api);
  const others = await openStreams(t, other.api);
  assert.equal((await server.api.delete(`/api/v1/api-tokens/${revoked.id}`)).status, 204);
  await endSoon(streams);
  assert.equal((await revoked.api.get('/api/v1/hosts')).status, 401);
  assert.deepEqual([...others.ended], []);
  assert.equal((await other.api.get('/api/v1/hosts')).status, 200);
});

test('a token that expires takes along what it holds open', async (t) => {
  const at = Math.ceil(Date.now() + lifeMs);
  const { api } = await makeToken({ expiresAt: new Date(at).toISOString() });
  const streams = await openStreams(t, api);
  assert.deepEqual([...streams.ended], []);
  await within(at - Date.now() + END_MS, 'the end of all streams', streams.end);
  assert.ok(Date.now() >= at - 50, 'not before its time');
  assert.equal((await api.get('/api/v1/whoami')).status, 401);
});

test('a rotated token goes on for its overlap, its streams with it, and its successor is as it was', async (t) => {
  const old = await makeToken({ hosts: ['shed'] });
  const streams = await openStreams(t, old.api);
  const rotated = await server.api.post(`/api/v1/api-tokens/${old.id}/rotate`, {
    overlapSeconds: Math.ceil(lifeMs / 1000),
  });
  assert.equal(rotated.status, 201, rotated.text);
  const next = withToken(rotated.body.token);
  const endsAt = Date.parse(rotated.body.replacedEndsAt);
  assert.equal((await old.api.get('/api/v1/hosts/shed')).status, 200);
  assert.deepEqual([...streams.ended], []);
  const nexts = await openStreams(t, next);
  await within(endsAt - Date.now() + END_MS, 'the end of the streams of the old token', streams.end);
  assert.ok(Date.now() >= endsAt - 50, 'not before its time');
  assert.equal((await old.api.get('/api/v1/hosts/shed')).status, 401);
  assert.deepEqual([...nexts.ended], []);
  const me = (await next.get('/api/v1/whoami')).body;
  assert.deepEqual(
    me.scope.hosts.map(({ name }: { name: string }) => name),
    ['shed'],
  );
  assert.equal((await next.get('/api/v1/hosts/vault')).status, 404);
});

test('the admin rotates the token in the file by the CLI, and goes on with the new one', async (t) => {
  const file = join(await tempDir(t), 'token');
  const first = await makeToken({ role: 'admin' });
  const cli = async (tokenFile: string, ...args: string[]) => {
    const target = ['--server', server.runtime.apiUrl, '--api-token-file', tokenFile];
    const done = await runCliHere([...target, ...args], { input: first.api.token ?? '' });
    assert.equal(done.exit.code, 0, done.transcript());
    return done;
  };
  const rotated = await cli('-', 'apitoken', 'rotate', '--out', file);
  assert.doesNotMatch(rotated.transcript(), /fla1/);
  assert.equal(await modeOf(file), 0o600);
  assert.equal((await first.api.get('/api/v1/whoami')).status, 401);
  assert.equal((await withToken((await readFile(file, 'utf8')).trim()).get('/api/v1/whoami')).status, 200);
  await cli(file, 'apitoken', 'rotate', '--out', file);
  const listed = await cli(file, 'apitoken', 'ls');
  assert.match(listed.stdout, /from 127\.0\.0\.1/);
});

test("a host that loses the tag leaves the token's scope, and its streams end within 1 s", async (t) => {
  const tag = (...tags: string[]) => server.api.request('PATCH', '/api/v1/hosts/shed', { body: { tags } });
  await tag('lab', 'garden');
  const { api } = await makeToken({ tags: ['lab'] });
  const all = await makeToken();
  const streams = await openStreams(t, api);
  const others = await openStreams(t, all.api);
  await tag('lab');
  assert.equal((await api.get('/api/v1/hosts')).body.items.length, 1);
  assert.deepEqual([...streams.ended], []);
  await tag('garden');
  await endSoon(streams);
  assert.deepEqual([...others.ended], []);
  assert.deepEqual((await api.get('/api/v1/hosts')).body.items, []);
  const hidden = (await api.get('/api/v1/hosts/shed')).body;
  const none = (await api.get('/api/v1/hosts/nobody')).body;
  assert.equal(hidden.code, 'HOST_NOT_FOUND');
  assert.equal(hidden.detail.replace('shed', 'nobody'), none.detail);
  await assert.rejects(ExecClient.open(api, 'shed', container.id, { cmd: ['id'] }), /404/);
});

test('an address that fails too often is turned away; others and the agents are not', async () => {
  const connectedAt = (await server.api.get('/api/v1/hosts/shed')).body.connectedAt;
  const { api } = await makeToken();
  const tries = await Promise.all(Array.from({ length: 10 }, async () => (await from('127.0.0.2', 'nonsense')).status));
  assert.deepEqual(new Set(tries), new Set([401]));
  for (let i = 0; i < 25; i++) await from('127.0.0.2', 'nonsense');
  const refused = await from('127.0.0.2', api.token ?? '');
  assert.equal(refused.status, 429, 'a good token from there is not looked at');
  assert.ok(Number(refused.retryAfter) >= 1 && Number(refused.retryAfter) <= 60, String(refused.retryAfter));
  assert.equal(refused.code, 'RATE_LIMITED');
  assert.equal((await from('127.0.0.3', api.token ?? '')).status, 200);
  const host = (await server.api.get('/api/v1/hosts/shed')).body;
  assert.deepEqual([host.state, host.connectedAt], ['online', connectedAt]);
});

/** Asks for the hosts from another address of this machine. */
function from(localAddress: string, token: string) {
  return new Promise<{ status: number; retryAfter: string | undefined; code: string }>((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` };
    const options = { ca: server.caPem, agent: false as const, localAddress, headers };
    const request = https.get(new URL('/api/v1/hosts', server.runtime.apiUrl), options, async (response) => {
      const { code } = JSON.parse(await text(response));
      resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'], code });
    });
    request.on('error', reject);
  });
}

test('a removed host takes along what a token with a scope holds open there', async (t) => {
  const { api } = await makeToken({ hosts: ['shed'] });
  const streams = await openStreams(t, api);
  assert.equal((await server.api.delete('/api/v1/hosts/shed')).status, 204);
  await endSoon(streams);
  assert.deepEqual((await api.get('/api/v1/hosts')).body.items, []);
});
