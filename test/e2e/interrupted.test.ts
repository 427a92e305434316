/** What is followed goes on by itself: over a killed agent, a restarted server, a cut of both; and says so when it cannot. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { before, test } from 'node:test';
import { runCli } from '../../server/cli/program.ts';
import { dockerApi, dockerBytes, testContainer } from '../support/docker.ts';
import type { Launched } from '../support/launcher.ts';
import {
  addHost,
  type Enrolled,
  restartServer,
  type Server,
  startAgent,
  startServer,
  waitForState,
} from '../support/mesh.ts';
import { type Cleanup, fileCleanup } from '../support/tmp.ts';
import { PATIENT_MS, waitFor, within } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;
let host: Enrolled;
let agent: Launched;

before(async () => {
  server = await startServer(shared);
  const added = await addHost(shared, server, 'shed');
  [host, agent] = [added, added.process];
});

const LINES = 800;
/** Both streams, many lines at once, for some 4 s; each line once in the log, and the two in an order of their own. */
const SCRIPT = `i=0; while [ $i -lt ${LINES} ]; do i=$((i+1)); echo "o$i"; echo "e$i" >&2; [ $((i%20)) -eq 0 ] && sleep 0.1; done; true`;

async function writer(cleanup: Cleanup, tty = false): Promise<string> {
  const { id } = await testContainer(cleanup, { cmd: ['sh', '-c', SCRIPT], tty });
  return id;
}

/** What Docker has of the log itself, to compare with. */
async function wholeLog(id: string): Promise<string[]> {
  await dockerApi('POST', `/containers/${id}/wait`);
  return (await server.api.get(`/api/v1/hosts/shed/containers/${id}/logs`)).text.trimEnd().split('\n');
}

/** What Docker has of the log now, in its frames. */
async function dockerLog(id: string): Promise<string> {
  return (await dockerBytes('GET', `/containers/${id}/logs?stdout=1`)).body.toString();
}

async function killAgent(): Promise<void> {
  await agent.kill();
  agent = startAgent(shared, host);
}

/** A run of the CLI in this process, which would take long to start by itself. */
interface CliRun {
  stdout: string;
  stderr: string;
  readonly code: Promise<number>;
}

function follow(args: string[]): CliRun {
  const env = { FAIRLEAD_SERVER: server.runtime.apiUrl, FAIRLEAD_API_TOKEN: server.adminToken, HOME: server.dataDir };
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const io = {
    stdin,
    stdout,
    stderr,
    env,
    now: () => Date.now(),
    onKill: () => () => undefined,
    onStop: () => () => undefined,
  };
  const run = { stdout: '', stderr: '', code: runCli(args, io) };
  stdout.on('data', (chunk: Buffer) => {
    run.stdout += chunk.toString();
  });
  stderr.on('data', (chunk: Buffer) => {
    run.stderr += chunk.toString();
  });
  return run;
}

test('a log that is followed over two killed agents is whole, in order, and has nothing twice', async (t) => {
  const ids = await Promise.all([writer(t), writer(t, true)]);
  const texts = ids.map(() => '');
  const ends = ids.map(async (id, index) => {
    const response = await server.api.open('GET', `/api/v1/hosts/shed/containers/${id}/logs?follow=1`);
    for await (const chunk of response as AsyncIterable<Buffer>) texts[index] += chunk.toString();
  });
  for (const mark of [/^o100\r?$/m, /^o400\r?$/m]) {
    await waitFor(`${mark}`, () => texts.every((text) => mark.test(text)), { everyMs: 5 });
    await killAgent();
  }
  await within(PATIENT_MS, 'the end of the logs', Promise.all(ends));
  for (const [index, id] of ids.entries()) assert.deepEqual(texts[index]?.trimEnd().split('\n'), await wholeLog(id));
});

test('the CLI goes on over a restarted server, byte for byte, and tells of it', async (t) => {
  const id = await writer(t);
  const plain = follow(['logs', '-f', 'shed', id]);
  const separate = follow(['logs', '-f', '--separate', 'shed', id]);
  const stats = follow(['container', 'stats', 'shed', id]);
  await waitFor('lines and a sample', () => plain.stdout.includes('o200\n') && stats.stdout.includes('cpu'));
  server = await restartServer(shared, server, 'kill');
  const log = await wholeLogLater(id);
  const seen = stats.stdout.length;
  for (const run of [plain, separate]) {
    assert.equal(await within(PATIENT_MS, 'the end', run.code, () => run.stderr), 0, run.stderr);
    assert.match(run.stderr, /lost on the way.*trying again for 5 minutes/);
    assert.match(run.stderr, /connected again; it goes on where it stopped/);
  }
  assert.deepEqual(plain.stdout.trimEnd().split('\n'), log);
  const errors = separate.stderr
    .trimEnd()
    .split('\n')
    .filter((line) => !line.startsWith('fairlead: '));
  assert.deepEqual(
    separate.stdout.trimEnd().split('\n'),
    log.filter((line) => line.startsWith('o')),
  );
  assert.deepEqual(
    errors,
    log.filter((line) => line.startsWith('e')),
  );
  await waitFor('more samples', () => stats.stdout.length > seen);
  await dockerApi('DELETE', `/containers/${id}?force=1`);
  await within(PATIENT_MS, 'the end of the samples', stats.code, () => stats.stderr);
});

async function wholeLogLater(id: string): Promise<string[]> {
  await waitForState(server, 'shed', 'online');
  return await wholeLog(id);
}

test('a tail of a silent container loses nothing of what comes while its host is away', async (t) => {
  const { id } = await testContainer(t, {
    cmd: ['sh', '-c', 'while [ ! -e /tmp/go ]; do sleep 0.05; done; echo late; exec sleep 1'],
  });
  const run = follow(['logs', '-f', '--tail', '0', 'shed', id]);
  const opened = await waitFor(
    'the tail',
    async () => (await server.api.get('/api/v1/hosts/shed')).body.link.openStreams > 0,
  );
  assert.ok(opened);
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  await agent.kill();
  const exec = await dockerApi('POST', `/containers/${id}/exec`, { Cmd: ['touch', '/tmp/go'] });
  await dockerApi('POST', `/exec/${exec.body.Id}/start`, { Detach: true });
  await dockerApi('POST', `/containers/${id}/wait`);
  agent = startAgent(shared, host);
  const code = await within(PATIENT_MS, 'the end', run.code, () => run.stderr);
  assert.deepEqual([code, run.stdout], [0, 'late\n'], run.stderr);
});

test('a log that was rotated while its host was away goes on behind a gap, which is told, and fails at its end', async (t) => {
  const LogConfig = { Type: 'json-file', Config: { 'max-size': '4k', 'max-file': '2' } };
  const script = `echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo "n$i"; done
    while [ ! -e /tmp/end ]; do sleep 0.05; done; echo last`;
  const { id } = await testContainer(t, {
    cmd: ['sh', '-c', script],
    config: { HostConfig: { NetworkMode: 'none', LogConfig } },
  });
  const touch = async (file: string) => {
    const exec = await dockerApi('POST', `/containers/${id}/exec`, { Cmd: ['touch', file] });
    await dockerApi('POST', `/exec/${exec.body.Id}/start`, { Detach: true });
  };
  const run = follow(['logs', '-f', 'shed', id]);
  const bytes = await server.api.open('GET', `/api/v1/hosts/shed/containers/${id}/logs?follow=1`);
  const broken = assert.rejects(async () => {
    for await (const chunk of bytes as AsyncIterable<Buffer>) assert.equal(chunk.toString(), 'first\n');
  });
  await waitFor('the first line', () => run.stdout === 'first\n');
  await agent.kill();
  await touch('/tmp/go');
  await waitFor('the rest', async () => (await dockerLog(id)).includes('n400\n'));
  agent = startAgent(shared, host);
  await within(PATIENT_MS, 'the end of the bytes', broken);
  await waitFor('what there is', () => run.stdout.includes('n400\n'));
  await touch('/tmp/end');
  assert.equal(await within(PATIENT_MS, 'the end', run.code, () => run.stderr), 1);
  assert.match(run.stderr, /what the log had after \S+ is not whole.*; it goes on with what there is\n/);
  const [first, ...rest] = run.stdout.trimEnd().split('\n');
  assert.equal(first, 'first');
  const all = Array.from({ length: 400 }, (_, index) => `n${index + 1}`);
  assert.deepEqual(rest, [...all, 'last'].slice(-rest.length));
});

test('a host that is revoked while it is away ends the wait at once, with a failure', async (t) => {
  const { name, process } = await addHost(t, server, 'barn');
  const { id } = await testContainer(t);
  const response = await server.api.open('GET', `/api/v1/hosts/${name}/containers/${id}/logs?follow=1`, {
    headers: { accept: 'application/x-ndjson' },
  });
  let text = '';
  const end = (async () => {
    for await (const chunk of response as AsyncIterable<Buffer>) text += chunk.toString();
  })();
  end.catch(() => undefined);
  await process.kill();
  await waitForState(server, name, 'offline');
  await server.api.post(`/api/v1/hosts/${name}/revoke`, {});
  await within(1_000, 'the end', assert.rejects(end));
  assert.equal(JSON.parse(text).error.code, 'HOST_OFFLINE');
});
