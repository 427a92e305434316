/** Edge mode against a Dockhand server over real WebSockets, by a clock that stands until a test moves it. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import https from 'node:https';
import { type TestContext, test } from 'node:test';
import { HawserEdge } from '../../../../agent/hawser/edge.ts';
import { containerEventOf, metricsOf } from '../../../../agent/hawser/edge-feeds.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { parseAgentMessage } from '../../../../shared/hawser/parse.ts';
import { DockhandServer } from '../../../support/dockhand-server.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { defer } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { AGENT_ID, type ContextOptions, fixture, TOKEN } from './fixture.ts';

async function connected(t: TestContext, options: ContextOptions & { token?: string } = {}) {
  const { token = TOKEN, ...rest } = options;
  const clock = new FakeClock();
  const server = await DockhandServer.start(t, TOKEN);
  const made = await fixture(t, (_request, response) => response.end('[]'), { clock, ...rest });
  const deps = { ...made.context, httpsAgent: new https.Agent(), random: () => 0.5 };
  const start = () => {
    const edge = HawserEdge.start({ url: server.url, token }, deps);
    defer(t, () => edge.close());
    return edge;
  };
  return { ...made, clock, server, start };
}

test('says who it is with all fields, and answers', async (t) => {
  const { server, start } = await connected(t);
  start();
  const session = await server.session();
  const [hello] = session.received;
  assert.ok('message' in parseAgentMessage(JSON.stringify(hello)));
  const { version, hostname, ...rest } = hello;
  assert.match(version, /^0\.2\.\d+\+fairlead/);
  assert.equal(typeof hostname, 'string');
  assert.deepEqual(rest, {
    ...{ type: 'hello', protocol: '1.0', agentId: AGENT_ID, agentName: 'shed', token: TOKEN, dockerVersion: '99.0' },
    tokenHash: createHash('sha256').update(TOKEN).digest('hex'),
    capabilities: ['exec', 'metrics', 'events', 'compose'],
  });
  const answer = await session.ask('GET', '/containers/json');
  assert.deepEqual([answer.statusCode, answer.body], [200, '[]']);
});

test('offers what the host lets it do, and Compose where there is one', async (t) => {
  const readOnly = await connected(t, { allow: ['read-only'], deny: ['host.metrics'] });
  readOnly.start();
  assert.deepEqual((await readOnly.server.session()).received[0].capabilities, ['events']);
  const without = await connected(t);
  without.stacks.version = new FairleadError('UNSUPPORTED', 'this host has no Compose');
  without.start();
  assert.deepEqual((await without.server.session()).received[0].capabilities, ['exec', 'metrics', 'events']);
});

test('comes back after a while when its session ends, and ends with the agent', async (t) => {
  const { server, start, clock, lines } = await connected(t);
  const edge = start();
  const first = await server.session();
  await first.ask('GET', '/containers/json');
  first.ws.terminate();
  await waitFor('the wait', () => lines.some((line) => /trying again/.test(line)));
  assert.equal(server.sessions.length, 1);
  clock.advance(1_000);
  const second = await server.session(1);
  await second.ask('GET', '/containers/json');
  await within(3_000, 'the stop', edge.close());
  await waitFor('the close', () => second.closedWith === 1000);
  clock.advance(600_000);
  assert.equal(server.sessions.length, 2);
});

test('waits long before it tries a token again that was refused', async (t) => {
  const { server, start, clock, lines } = await connected(t, { token: 'not-the-right-token' });
  start();
  await server.session();
  const line = await waitFor('the refusal', () => lines.find((one) => /trying again/.test(one)));
  const { code, reason, delayMs } = JSON.parse(line);
  assert.deepEqual([code, reason], ['REFUSED', 'the Dockhand server says: Invalid token']);
  assert.ok(delayMs >= 15_000, `${delayMs} ms`);
  assert.ok(!lines.some((one) => one.includes('not-the-right-token')));
  clock.advance(14_000);
  assert.equal(server.sessions.length, 1);
  clock.advance(60_000);
  await server.session(1);
});

test('says why it cannot connect', async (t) => {
  const { context } = await fixture(t, (_request, response) => response.end());
  const lines: string[] = [];
  const log = { ...context.log, warn: (_fact: object, text: string) => void lines.push(JSON.stringify(_fact) + text) };
  const deps = { ...context, log: log as typeof context.log, httpsAgent: new https.Agent(), random: () => 0.5 };
  const edge = HawserEdge.start({ url: 'ws://127.0.0.1:1/api/hawser/connect', token: TOKEN }, deps);
  defer(t, () => edge.close());
  const line = await waitFor('the reason', () => lines[0]);
  assert.match(line, /"code":"refused".*127\.0\.0\.1:1.*trying again/);
});

test('tells every 30 s what the host uses', async (t) => {
  const { server, start, clock } = await connected(t);
  start();
  const session = await server.session();
  await session.ask('GET', '/containers/json');
  clock.advance(30_000);
  // The first sample is about a second.
  await waitFor('the sample', () => {
    clock.advance(1_000);
    return session.ofType('metrics').length > 0;
  });
  const [{ metrics, timestamp }] = session.ofType('metrics');
  assert.ok(metrics.memoryTotal > metrics.memoryUsed && metrics.memoryUsed > 0);
  assert.ok(metrics.cpuUsage >= 0 && metrics.cpuUsage <= 100);
  assert.ok(timestamp < 1e10, 'in seconds');
});

test('a sample and an event are told as Hawser tells them', () => {
  const memory = { totalBytes: 100, usedBytes: 60, availableBytes: 40 };
  const cpu = { percent: 12.5, cores: [10, 15] };
  const made = metricsOf({ at: 1_700_000_000_999, uptimeSeconds: 7, cpu, memory }, { received: 1, sent: 2 });
  assert.deepEqual(made, {
    type: 'metrics',
    timestamp: 1_700_000_000,
    metrics: {
      ...{ cpuUsage: 12.5, cpuCores: 2, memoryTotal: 100, memoryUsed: 60, memoryFree: 40 },
      ...{ networkRxBytes: 1, networkTxBytes: 2, uptime: 7 },
    },
  });
  const attributes = { name: 'web', image: 'nginx:1', exitCode: '1' };
  const event = { type: 'container', action: 'die', id: 'abc', attributes, timeNano: 1_700_000_000_123_456_000 };
  assert.deepEqual(containerEventOf(event), {
    type: 'container_event',
    event: {
      ...{ containerId: 'abc', containerName: 'web', image: 'nginx:1', action: 'die', actorAttributes: attributes },
      timestamp: '2023-11-14T22:13:20.123456Z',
    },
  });
  assert.equal(containerEventOf({ ...event, action: 'health_status: healthy' })?.event.action, 'health_status');
  for (const other of [
    { action: 'exec_create: sh' },
    { action: 'top' },
    { type: 'network' },
    { attributes: { ...attributes, name: 'dockhand-browse-1' } },
    { attributes: { ...attributes, image: 'ghcr.io/aquasec/trivy:1' } },
  ]) {
    assert.equal(containerEventOf({ ...event, ...other }), undefined, JSON.stringify(other));
  }
});
