/** A server that is told to stop: what is in progress gets its time, what has no end is told so, and what is new is refused. */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { before, test } from 'node:test';
import { type TestContainer, testContainer } from '../support/docker.ts';
import { ExecClient } from '../support/exec-client.ts';
import { addHost, restartServer, type Server, startServer, waitForState } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;
let container: TestContainer;

before(async () => {
  server = await startServer(shared);
  await addHost(shared, server, 'shed');
  container = await testContainer(shared, { cmd: ['sh', '-c', 'while sleep 0.1; do echo tick; done'] });
});

const path = (rest: string) => `/api/v1/hosts/shed/containers/${container.id}${rest}`;

/** Runs a command on the host to its end. */
function runCommand(command: string, timeoutSeconds = 60) {
  return server.api.post(path('/exec'), { cmd: ['sh', '-c', command], timeoutSeconds });
}

/** Opens a stream that has begun. */
async function follow(where: string, accept: string): Promise<IncomingMessage & { text: string }> {
  const response = Object.assign(await server.api.open('GET', where, { headers: { accept } }), { text: '' });
  assert.equal(response.statusCode, 200, where);
  response.on('error', () => undefined); // told by `complete`
  response.setEncoding('utf8').on('data', (text: string) => {
    response.text += text;
  });
  await waitFor(`the beginning of ${where}`, () => response.text !== '');
  return response;
}

/** How it has ended; `complete` is what a client takes for whole. */
async function endOf(response: IncomingMessage): Promise<'whole' | 'broken off'> {
  await waitFor('the end of a stream', () => response.closed, { timeoutMs: 3_000 });
  return response.complete ? 'whole' : 'broken off';
}

const isStopping = async () => (await server.api.get('/readyz')).status === 503;

test('requests in progress are answered, streams without an end are told, new requests are refused', async () => {
  const marker = `begun-${Date.now()}`;
  const running = runCommand(`: > /tmp/${marker}; sleep 2; echo done`);
  const text = await follow(path('/logs?follow=1&tail=1'), 'text/plain');
  const records = await follow(path('/logs?follow=1&tail=1'), 'application/x-ndjson');
  const events = await follow('/api/v1/events', 'text/event-stream');
  const docker = await follow(
    `/api/v1/hosts/shed/docker/containers/${container.id}/logs?follow=1&stdout=1&tail=1`,
    '*/*',
  );
  const terminal = await ExecClient.open(server.api, 'shed', container.id, { cmd: ['sleep', '1000'], tty: true });
  await waitFor('the command on the host', async () => {
    return (await runCommand(`ls /tmp/${marker}`)).body.exitCode === 0;
  });
  const since = performance.now();
  server.process.signal('SIGTERM');
  await waitFor('a server that is not ready', isStopping, { timeoutMs: 1_500 });
  const refused = await server.api.get('/api/v1/hosts');
  assert.deepEqual([refused.status, refused.body.code, refused.headers['retry-after']], [503, 'SHUTDOWN', '5']);
  assert.equal((await server.api.get('/healthz')).status, 200);
  for (const [name, stream] of Object.entries({ text, events, docker })) {
    assert.equal(await endOf(stream), 'broken off', name);
  }
  assert.equal(await endOf(records), 'broken off');
  const last = JSON.parse(records.text.trimEnd().split('\n').at(-1) ?? '');
  assert.equal(last.error.code, 'SHUTDOWN', records.text.slice(-300));
  const { code, reason } = await within(2_000, 'the end of the terminal', terminal.closed);
  assert.notEqual(code, 1000);
  assert.match(reason, /shutting down|SHUTDOWN/);
  assert.equal(terminal.exitCode, undefined);
  const answer = await running;
  assert.deepEqual([answer.status, answer.body.exitCode, answer.body.stdout], [200, 0, 'done\n'], answer.text);
  const exit = await server.process.exited;
  assert.equal(exit.code, 0, server.process.transcript());
  assert.ok(performance.now() - since < 10_000);
});

test('the agent comes back, and a request that takes too long is ended with an error within 10 s', async () => {
  server = await restartServer(shared, server, 'stop');
  await waitForState(server, 'shed', 'online');
  const marker = `long-${Date.now()}`;
  const running = runCommand(`: > /tmp/${marker}; sleep 300`, 400);
  await waitFor('the command on the host', async () => (await runCommand(`ls /tmp/${marker}`)).body.exitCode === 0);
  const since = performance.now();
  server.process.signal('SIGTERM');
  const answer = await running;
  assert.ok(answer.status >= 500, answer.text);
  assert.ok(['SHUTDOWN', 'STREAM_INTERRUPTED', 'HOST_OFFLINE'].includes(answer.body.code), answer.text);
  const exit = await server.process.exited;
  assert.equal(exit.code, 0, server.process.transcript());
  const took = performance.now() - since;
  assert.ok(took > 3_000 && took < 10_000, `${took} ms`);
  assert.match(server.process.stderr, /"requests":1.*these requests took too long/);
});

test('a second signal ends a stop at once', async () => {
  server = await restartServer(shared, server, 'stop');
  await waitForState(server, 'shed', 'online');
  const marker = `held-${Date.now()}`;
  const running = runCommand(`: > /tmp/${marker}; sleep 300`, 400);
  const lost = assert.rejects(running);
  await waitFor('the command on the host', async () => (await runCommand(`ls /tmp/${marker}`)).body.exitCode === 0);
  server.process.signal('SIGTERM');
  await waitFor('a server that is not ready', isStopping, { timeoutMs: 1_500 });
  server.process.signal('SIGTERM');
  const exit = await within(1_000, 'the end', server.process.exited);
  assert.equal(exit.code, 1);
  await lost;
});
