/** Garbage at both ports, with and without a certificate: the server's event loop stays free, and nobody else notices. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { createCsr } from '../../certs/csr.ts';
import { requireDocker } from '../support/docker.ts';
import { type GarbageOptions, throwGarbage } from '../support/garbage.ts';
import type { Launched } from '../support/launcher.ts';
import { addHost, enroll, newToken, type Server, startServer } from '../support/mesh.ts';
import { HELLO } from '../support/mux.ts';
import { fileCleanup } from '../support/tmp.ts';
import { p256 } from '../unit/certs/fixtures.ts';

const MAX_P99_MS = 50;
const ROUND_MS = 3_000;
/** Other programs of the machine can only make a round worse than it is. */
const ROUNDS = 8;
const AT_ONCE = 16;

const shared = fileCleanup();
let server: Server;
let good: { process: Launched };
let options: GarbageOptions;

before(async () => {
  await requireDocker();
  server = await startServer(shared);
  good = await addHost(shared, server, 'good');
  const bad = await enroll(shared, server, 'bad');
  const [key, cert] = await Promise.all(
    ['key.pem', 'cert.pem'].map((name) => readFile(join(bad.stateDir, name), 'utf8')),
  );
  options = {
    apiPort: Number(new URL(server.runtime.apiUrl).port),
    agentPort: Number(new URL(server.runtime.agentUrl).port),
    ms: ROUND_MS,
    atOnce: AT_ONCE,
    token: (await newToken(server)).token,
    csr: await createCsr(p256().privateKey),
    agent: { key: key ?? '', cert: cert ?? '' },
    hello: HELLO,
  };
});

/** The p99 of the delay of the server's loop since the last look, which this one ends. */
async function serverDelayMs(): Promise<number> {
  const { text } = await server.api.get('/metrics');
  const [, value] = /^nodejs_eventloop_lag_p99_seconds(?:\{[^}]*\})? (\S+)$/m.exec(text) ?? [];
  assert.ok(value !== undefined, text);
  return 1000 * Number(value);
}

/** The p99 of the delay of the server's loop while garbage is thrown at it. */
async function delayUnderGarbageMs(t: TestContext): Promise<number> {
  await serverDelayMs();
  const thrown = await throwGarbage(t, options);
  const delayMs = await serverDelayMs();
  t.diagnostic(`p99 ${Math.round(delayMs)} ms under ${JSON.stringify(thrown)}`);
  assert.ok(Object.values(thrown).reduce((sum, count) => sum + count) > 50);
  return delayMs;
}

test('under garbage the loop is late by less than 50 ms at p99, and agent, API and tokens are as before', async (t) => {
  const rounds: number[] = [];
  while (rounds.length < ROUNDS && !rounds.some((ms) => ms < MAX_P99_MS)) rounds.push(await delayUnderGarbageMs(t));
  assert.ok(Math.min(...rounds) < MAX_P99_MS, `the loop is late by ${rounds.join(', ')} ms`);
  assert.equal(server.process.exit, undefined, server.process.transcript());
  assert.equal((await server.api.get('/api/v1/hosts/good/containers')).status, 200);
  assert.equal((await server.api.get('/api/v1/hosts/good')).body.state, 'online');
  assert.doesNotMatch(good.process.stderr, /not connected/, 'its session has lasted');
  const { body } = await server.api.get('/api/v1/hosts?limit=100');
  assert.deepEqual(body.items.map((host: { name: string }) => host.name).toSorted(), ['bad', 'good'], 'nobody got in');
  for (const line of server.process.stderr.split('\n').filter((each) => each !== '')) {
    const { level, msg } = JSON.parse(line) as { level: number; msg: string };
    assert.ok(level < 50, `the log has an error: ${msg}`);
  }
});
