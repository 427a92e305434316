/** A thousand live sessions, revoked by one call, seen from their own ends; and an older database that brings none back. */
import assert from 'node:assert/strict';
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { loadIdentity } from '../../agent/identity/state-dir.ts';
import type { Session } from '../../shared/mux/session.ts';
import { seedFleet } from '../support/fleet.ts';
import { run } from '../support/launcher.ts';
import { connectAgent } from '../support/live-listener.ts';
import {
  addHost,
  type Enrolled,
  enroll,
  newToken,
  restartServer,
  type Server,
  startAgent,
  startServer,
} from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const SESSIONS = 1_000;
const CONNECTS_AT_ONCE = 16;
/** From the call to the end of the last session, in ms of the server's own processor time, of which a busy machine needs more … */
const GONE_MS = 1_500;
/** … and on the clock, on a machine that is busy otherwise. */
const GONE_BUSY_MS = 20_000;
/** What another client of the API may wait meanwhile, on such a machine. */
const PROMPT_MS = 2_000;
/** A tick of the times in /proc, in ms. */
const TICK_MS = 10;

const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
});

/** The time that a process has used of the processor, in ms. */
async function processorMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // Behind the name, which stands in brackets: the 12th and 13th are the ticks in the program and in the kernel.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Asks again and again until stopped. @returns how long the answers took, in ms, the longest last */
async function probe(api: Server['api'], stop: AbortSignal): Promise<number[]> {
  const times: number[] = [];
  while (!stop.aborted) {
    const from = performance.now();
    await api.get('/healthz');
    times.push(performance.now() - from);
  }
  return times.sort((a, b) => a - b);
}

test(`one call ends ${SESSIONS} live sessions, with a second of work, and others are served meanwhile`, async (t) => {
  const fleet = await seedFleet(shared, server, SESSIONS);
  server = fleet.server;
  const bystander = await addHost(t, server, 'bystander');
  const ends: { session: Session; gone: Promise<number> }[] = [];
  const left = fleet.stateDirs.values();
  const connectAll = async () => {
    for (const stateDir of left) {
      const { session } = await connectAgent(await loadIdentity(stateDir));
      ends.push({ session, gone: session.closed.then(() => performance.now()) });
    }
  };
  await Promise.all(Array.from({ length: CONNECTS_AT_ONCE }, connectAll));
  assert.equal(ends.length, SESSIONS);

  // Each look at the delay of the loop begins it anew.
  await server.api.get('/metrics');
  const stop = new AbortController();
  const probing = probe(server.api, stop.signal);
  const usedBefore = await processorMs(server.runtime.pid);
  const from = performance.now();
  const gone = Promise.all(ends.map((one) => one.gone)).then(async (times) => ({
    last: Math.max(...times),
    usedMs: (await processorMs(server.runtime.pid)) - usedBefore,
  }));
  const hosts = Array.from({ length: SESSIONS }, (_, n) => `fleet-${n}`);
  const body = { hosts: [...hosts, 'nobody'], serials: ['DEAD:BEEF'], reason: 'all of them' };
  const answer = await server.api.post('/api/v1/revocations', body);
  const answeredAt = performance.now();
  stop.abort();
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.body.hosts.length, SESSIONS);
  assert.deepEqual(answer.body.notFound, { hosts: ['nobody'], serials: ['DEAD:BEEF'] });

  const { last, usedMs } = await within(GONE_BUSY_MS, 'the end of all sessions', gone);
  for (const { session } of ends) assert.equal((await session.closed).code, 'CERT_REVOKED');
  const times = await probing;
  const p99 = times[Math.floor(times.length * 0.99)] ?? 0;
  const { text } = await server.api.get('/metrics');
  const delay = /^nodejs_eventloop_lag_p99_seconds (\S+)$/m.exec(text)?.[1];
  t.diagnostic(
    `answered after ${(answeredAt - from).toFixed(0)} ms, the last session gone after ${(last - from).toFixed(0)} ms, ` +
      `${usedMs} ms of them at work; ` +
      `${times.length} other calls meanwhile, p99 ${p99.toFixed(1)} ms; loop delay p99 ${(Number(delay) * 1000).toFixed(1)} ms`,
  );
  assert.ok(p99 < PROMPT_MS, `${p99} ms`);
  assert.ok(usedMs < GONE_MS, `the server used ${usedMs} ms`);
  assert.ok(last - from < GONE_BUSY_MS);
  assert.equal(bystander.process.exit, undefined);
  assert.match((await server.api.get('/metrics')).text, /^fairlead_sessions(?:\{[^}]*\})? 1$/m);
});

/** Puts the database that was copied before in place of the one that knows what happened since. */
async function restoreOlder(copy: string): Promise<void> {
  const database = join(server.dataDir, 'fairlead.db');
  for (const suffix of ['-wal', '-shm']) await rm(`${database}${suffix}`, { force: true });
  await copyFile(copy, database);
}

test('an older database in place of the newer one: what was revoked since stays out, and so do spent tokens', async (t) => {
  const outcast = await addHost(t, server, 'old-outcast');
  const faithful: Enrolled = await enroll(t, server, 'faithful');
  const spent = await newToken(server);
  const revokedToken = await newToken(server);
  const apiToken = (await server.api.post('/api/v1/api-tokens', { name: 'ci', role: 'viewer' })).body;
  await server.process.stop();
  const copy = join(server.dataDir, '..', 'older.db');
  await copyFile(join(server.dataDir, 'fairlead.db'), copy);

  server = await restartServer(shared, server, 'stop');
  const stateDir = join(server.dataDir, '..', 'spent');
  const args = ['enroll', '--server', server.runtime.apiUrl, '--token', spent.token, '--name', 'spender'];
  assert.equal((await run(t, 'agent', [...args, '--state-dir', stateDir])).exit.code, 0);
  await server.api.delete(`/api/v1/enrollment-tokens/${revokedToken.id}`);
  await server.api.delete(`/api/v1/api-tokens/${apiToken.id}`);
  await waitFor('the agent to be back', async () => {
    return (await server.api.get('/api/v1/hosts/old-outcast')).body.state === 'online';
  });
  assert.equal((await server.api.post('/api/v1/hosts/old-outcast/revoke', { reason: 'sold' })).status, 200);
  const connected = await within(5_000, 'the end of the agent', outcast.process.exited);
  assert.equal(connected.code, 3, 'while it was connected');
  assert.match(outcast.process.stderr, /CERT_REVOKED: sold.*unenroll --local/);
  const away = startAgent(t, outcast);
  assert.equal((await away.exited).code, 3, 'at the next start');
  assert.match(away.stderr, /CERT_REVOKED: .*sold.*unenroll --local/);
  await server.process.stop();

  await restoreOlder(copy);
  server = await restartServer(shared, server, 'stop');
  assert.equal((await server.api.get('/api/v1/hosts/old-outcast')).body.state, 'revoked');
  const again = startAgent(t, outcast);
  assert.equal((await again.exited).code, 3, again.transcript());
  assert.match(again.stderr, /CERT_REVOKED: .*sold/);
  const denied = await server.api.get('/api/v1/hosts', { token: apiToken.token });
  assert.equal(denied.status, 401);
  for (const token of [spent.token, revokedToken.token]) {
    const where = ['--state-dir', join(server.dataDir, '..', `again-${token.slice(-6)}`)];
    const tried = await run(t, 'agent', ['enroll', '--server', server.runtime.apiUrl, '--token', token, ...where]);
    assert.notEqual(tried.exit.code, 0, tried.transcript());
  }
  const kept = startAgent(t, faithful);
  await waitFor(
    'the faithful host',
    async () => {
      return (await server.api.get('/api/v1/hosts/faithful')).body.state === 'online';
    },
    { context: () => kept.transcript() },
  );
  // Unknown to the older database: not final, since a newer one may come back.
  const unknown = startAgent(t, { stateDir, hostId: '', name: 'spender' });
  await waitFor('CERT_UNKNOWN', () => /CERT_UNKNOWN/.test(unknown.stderr));
  assert.equal(unknown.exit, undefined);
  const { text } = await server.api.get('/api/v1/audit?limit=100');
  assert.match(text, /revocation\.replay/);
  assert.match(server.process.stderr, /the database is older than revoked\.ndjson/);
});

test('a journal that is damaged in the middle keeps the server from starting, in one sentence', async (t) => {
  await server.process.stop();
  const path = join(server.dataDir, 'revoked.ndjson');
  const whole = await readFile(path, 'utf8');
  await writeFile(path, whole.replace('"kind"', '"kinc"'));
  const refused = await run(t, 'server', [
    '--data-dir',
    server.dataDir,
    '--api-listen',
    '127.0.0.1:0',
    '--agent-listen',
    '127.0.0.1:0',
  ]);
  assert.equal(refused.exit.code, 1);
  assert.match(refused.stderr, /line 1 of .*revoked\.ndjson is damaged, .*delete that line/);
  assert.equal(await readFile(path, 'utf8'), whole.replace('"kind"', '"kinc"'));
  await writeFile(path, `${whole}{"kind":"certif`);
  server = await restartServer(shared, server, 'stop');
  assert.match(server.process.stderr, /last line of revoked\.ndjson was cut off/);
  assert.equal(await readFile(path, 'utf8'), whole);
});
