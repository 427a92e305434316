/** Requests to an agent that listens: what it says in Docker's place, what it cuts off, and what is left of what is left. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { MAX_OPEN } from '../../../../../server/hawser/limits.ts';
import { Connections } from '../../../../../server/hawser/standard/connections.ts';
import { StandardTransport } from '../../../../../server/hawser/standard/standard-transport.ts';
import { systemClock as clock } from '../../../../../shared/clock.ts';
import { MemoryPool } from '../../../../../shared/mux/memory-pool.ts';
import { standardAgent } from '../../../../support/hawser-standard-agent.ts';
import { defer, tempDir } from '../../../../support/tmp.ts';
import { waitFor } from '../../../../support/wait.ts';

const BLOCK = Buffer.alloc(512);

/** A Docker that begins to answer and does not end: so much of it, with that type. */
async function slowDocker(
  t: TestContext,
  type: string,
  beginning: Buffer,
): Promise<{ socket: string; open: Set<unknown> }> {
  const open = new Set<unknown>();
  const server = createServer((request, response) => {
    open.add(request);
    response.once('close', () => open.delete(request));
    response.writeHead(200, { 'Content-Type': type }).write(beginning);
  });
  const socket = join(await tempDir(t, 'docker'), 'docker.sock');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  defer(t, async () => {
    server.closeAllConnections();
    server.close();
  });
  return { socket, open };
}

async function dialled(t: TestContext, docker: string, memory?: MemoryPool) {
  const agent = await standardAgent(t, { token: 'secret', docker });
  const address = { url: new URL(agent.url), token: 'secret' };
  const transport = new StandardTransport({ connections: new Connections({ address, clock }), clock, memory });
  defer(t, async () => transport.close('SHUTDOWN', 'the test is over'));
  return { agent, transport };
}

test('a tar that the agent has cut off with a clean end is broken off', async (t) => {
  const { socket } = await slowDocker(t, 'application/x-tar', BLOCK);
  const { agent, transport } = await dialled(t, socket);
  agent.faults.limitMs = 100;
  const bytes = transport.stream({ method: 'GET', path: '/images/get?names=a' });
  await assert.rejects(buffer(bytes), { code: 'STREAM_INTERRUPTED', message: /broke off/ });
});

test('JSON that the agent has cut off is broken off, and so is a wait without an answer', async (t) => {
  const { socket } = await slowDocker(t, 'application/json', Buffer.from('[{"Id":"a"},'));
  const { agent, transport } = await dialled(t, socket);
  agent.faults.limitMs = 100;
  for (const call of [
    { method: 'GET', path: '/containers/json' },
    { method: 'POST', path: '/containers/a/wait' },
  ])
    await assert.rejects(transport.ask(call), { code: 'STREAM_INTERRUPTED', message: /broke off/ });
});

test('what the agent says in the place of Docker is no answer of Docker', async (t) => {
  const { agent, transport } = await dialled(t, '/nowhere/docker.sock');
  const ask = () => transport.ask({ method: 'GET', path: '/containers/json' });
  await assert.rejects(ask(), { code: 'DOCKER_UNREACHABLE', message: /ENOENT/ });
  agent.faults.refuses = 401;
  await assert.rejects(ask(), { code: 'HOST_OFFLINE', message: /token/ });
  agent.faults.refuses = 429;
  await assert.rejects(ask(), { code: 'OVERLOADED', retryAfterSeconds: 60 });
});

test('a call that Docker does not answer in the time of the agent is a timeout', async (t) => {
  const server = createServer(() => undefined);
  const socket = join(await tempDir(t, 'docker'), 'docker.sock');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  defer(t, async () => {
    server.closeAllConnections();
    server.close();
  });
  const { agent, transport } = await dialled(t, socket);
  agent.faults.limitMs = 50;
  await assert.rejects(transport.ask({ method: 'POST', path: '/images/prune' }), { code: 'TIMEOUT' });
  agent.faults.limitMs = 30_000;
  const call = { method: 'GET', path: '/info' };
  await assert.rejects(transport.ask(call, { timeoutMs: 20 }), { code: 'TIMEOUT', message: /0\.02 s/ });
  const signal = AbortSignal.abort(new Error('left'));
  await assert.rejects(transport.ask(call, { signal }), /left/);
  await waitFor('the end of what was asked', () => transport.open === 0);
});

test('whoever leaves a stream ends it at Docker; the end of the transport ends all', async (t) => {
  const { socket, open } = await slowDocker(t, 'text/plain', Buffer.from('a line\n'));
  const { transport } = await dialled(t, socket);
  const call = { method: 'GET', path: '/containers/a/logs?follow=1' };
  const [left, kept] = [transport.stream(call), transport.stream(call)];
  await waitFor('both at Docker', () => open.size === 2);
  left.destroy();
  await waitFor('the end of one', () => open.size === 1 && transport.open === 1);
  const rest = buffer(kept);
  transport.close('REPLACED', 'another way');
  await assert.rejects(rest, { code: 'STREAM_INTERRUPTED', message: /another way/ });
  assert.equal((await transport.closed).code, 'REPLACED');
  assert.throws(() => transport.stream(call), { code: 'HOST_OFFLINE' });
  await waitFor('the end of the other', () => open.size === 0);
});

test('so many requests are in progress at once, and no more', async (t) => {
  const { socket } = await slowDocker(t, 'text/plain', Buffer.from('x'));
  const { transport } = await dialled(t, socket);
  const call = { method: 'GET', path: '/containers/a/logs?follow=1' };
  const streams = Array.from({ length: MAX_OPEN }, () => transport.stream(call));
  assert.throws(() => transport.stream(call), { code: 'OVERLOADED' });
  for (const stream of streams) stream.destroy();
  await waitFor('their end', () => transport.open === 0);
  transport.stream(call).destroy();
});

test('an answer that is taken in whole is bounded, by itself and by the memory of all', async (t) => {
  const { socket } = await slowDocker(t, 'application/json', Buffer.alloc(17 * 1024 * 1024, ' '));
  const memory = new MemoryPool(64 * 1024 * 1024);
  const { transport } = await dialled(t, socket, memory);
  const call = { method: 'GET', path: '/containers/json' };
  await assert.rejects(transport.ask(call), { code: 'PAYLOAD_TOO_LARGE' });
  assert.equal(memory.usedBytes, 0);
  memory.count(60 * 1024 * 1024);
  await assert.rejects(transport.ask(call), { code: 'OVERLOADED' });
  assert.equal(memory.usedBytes, 60 * 1024 * 1024);
});
