/** What hosts and their containers use: from a real agent and a real Engine to the API, the CLI and Prometheus. */
import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import Database from 'better-sqlite3';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { DOCKER_SOCKET, requireDocker, testContainer } from '../support/docker.ts';
import { Api } from '../support/http.ts';
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
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
const EVERY_SECOND = ['--metrics-interval', '1s'];
let server: Server;
let shed: Enrolled & { readonly process: Launched };

before(async () => {
  await requireDocker();
  server = await startServer(shared, { args: EVERY_SECOND });
  shed = await addHost(shared, server, 'shed', ['--docker', DOCKER_SOCKET]);
});

const at = (host: string, rest = '') => `/api/v1/hosts/${host}/${rest}`;

interface Point {
  time: string;
  samples: number;
  cpu: { percent: { avg: number; min: number; max: number } };
  memory: { usedBytes: { avg: number; min: number; max: number }; totalBytes: { avg: number } };
}

async function points(query: string): Promise<Point[]> {
  const { status, body, text } = await server.api.get(at('shed', `metrics?${query}`));
  assert.equal(status, 200, text);
  return body.points;
}

async function latest() {
  return await waitFor('a sample', async () => {
    const { status, body } = await server.api.get(at('shed', 'metrics/latest'));
    return status === 200 && body.disk !== undefined ? body : undefined;
  });
}

async function cli(t: Cleanup, args: string[]): Promise<CliRun> {
  const base = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  const run = await runCliHere([...base, ...args], { env: { XDG_CONFIG_HOME: await tempDir(t) } });
  assert.equal(run.exit?.code, 0, run.transcript());
  return run;
}

test('the last sample of a host is about this machine', async () => {
  const sample = await latest();
  assert.ok(sample.cpu.percent >= 0 && sample.cpu.percent <= 100, JSON.stringify(sample.cpu));
  assert.ok(sample.cpu.cores.length > 0 && sample.cpu.cores.every((core: number) => core >= 0 && core <= 100));
  assert.ok(Math.abs(sample.memory.totalBytes - totalmem()) < totalmem() / 50);
  assert.ok(sample.memory.usedBytes > 0 && sample.memory.usedBytes < sample.memory.totalBytes);
  assert.ok(sample.disk.totalBytes > sample.disk.availableBytes && sample.disk.usedBytes > 0);
  assert.equal(typeof sample.load.fifteen, 'number');
  assert.ok(sample.uptimeSeconds > 0 && sample.ageSeconds < 5);
  const asked = performance.now();
  const fresh = await server.api.get(at('shed', 'metrics/latest?fresh=1'));
  assert.equal(fresh.status, 200, fresh.text);
  assert.equal(fresh.body.ageSeconds, 0);
  assert.ok(performance.now() - asked > 900, 'rates are about a second');
});

test('history comes in the steps that were asked for, and a larger one says the same', async () => {
  await waitFor('some samples', async () => (await points('from=-1m&step=1')).length >= 4);
  const to = Math.floor(Date.now() / 1000) - 1;
  const range = `from=${to - 60}&to=${to}`;
  const fine = await points(`${range}&step=1s`);
  const [coarse, ...others] = await points(`${range}&step=10m`);
  assert.deepEqual(others.length <= 1, true);
  const most = Math.max(...fine.map(({ cpu }) => cpu.percent.max));
  if (coarse !== undefined && others.length === 0) {
    assert.ok(coarse.cpu.percent.max >= most && coarse.cpu.percent.min <= coarse.cpu.percent.avg);
  }
  assert.ok(fine.every(({ samples }) => samples >= 1 && samples <= 2));
  const times = fine.map(({ time }) => Date.parse(time));
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
  );
  const { body } = await server.api.get(at('shed', 'metrics'));
  assert.equal(body.step, 5, 'an hour in at most 1,000 points');
});

test('what cannot be answered is told by its code', async () => {
  const refused: [path: string, status: number, code: string, detail: RegExp][] = [
    [at('shed', 'metrics?from=now&to=-1h'), 400, 'VALIDATION', /from must be before to/],
    [at('shed', 'metrics?from=yesterday'), 400, 'VALIDATION', /from is no time/],
    [at('shed', 'metrics?step=0'), 400, 'VALIDATION', /step is no step/],
    [at('shed', 'metrics?from=-24h&step=1s'), 400, 'VALIDATION', /give 120s or more/],
    [at('nobody', 'metrics'), 404, 'HOST_NOT_FOUND', /nobody/],
    [at('nobody', 'metrics/latest'), 404, 'HOST_NOT_FOUND', /nobody/],
  ];
  for (const [path, status, code, detail] of refused) {
    const { status: got, body } = await server.api.get(path);
    assert.deepEqual([got, body.code], [status, code], path);
    assert.match(body.detail, detail);
  }
});

test('a token for other hosts sees none of it', async () => {
  const { body } = await server.api.post('/api/v1/api-tokens', { name: 'other', role: 'viewer', tags: ['elsewhere'] });
  const api = new Api({ url: server.runtime.apiUrl, ca: server.caPem, token: body.token });
  for (const path of ['metrics', 'metrics/latest', 'stats'])
    assert.equal((await api.get(at('shed', path))).status, 404);
  assert.deepEqual((await api.get('/api/v1/metrics/hosts')).body.items, []);
  assert.equal((await api.get('/metrics')).status, 403);
});

test('statistics of all running containers come at once, counted as docker does', async (t) => {
  const busy = await testContainer(t, { cmd: ['sh', '-c', 'while :; do :; done'] });
  const idle = await testContainer(t);
  const { status, body, text } = await server.api.get(at('shed', 'stats'));
  assert.equal(status, 200, text);
  const of = (name: string) => body.items.find((item: { name: string }) => item.name === name);
  assert.ok(of(busy.name).cpuPercent > 5, JSON.stringify(of(busy.name)));
  assert.ok(of(idle.name).cpuPercent < 5 && of(idle.name).pids >= 1, JSON.stringify(of(idle.name)));
  assert.ok(of(idle.name).memory.usedBytes < of(idle.name).memory.limitBytes);
  const shown = await cli(t, ['stats', 'shed']);
  assert.match(shown.stdout, /^CONTAINER +NAME +CPU +MEMORY/);
  assert.match(shown.stdout, new RegExp(`^${idle.id.slice(0, 12)} +${idle.name} +\\d+\\.\\d % `, 'm'));
});

test('the CLI shows hosts side by side, and one over a time', async (t) => {
  await latest();
  const top = await cli(t, ['top']);
  assert.match(top.stdout, /^HOST +STATE +CPU +CORES +LOAD +MEMORY/);
  assert.match(top.stdout, /^shed +online +\d+\.\d % +\d+ +\d+\.\d\d +.* GiB of .* GiB \(\d+ %\)/m);
  const [host] = JSON.parse((await cli(t, ['--json', 'top'])).stdout);
  assert.equal(host.host, 'shed');
  const history = await cli(t, ['host', 'metrics', 'shed', '--from', '-1m', '--step', '1s']);
  assert.match(history.stdout, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ +\d+\.\d % \/ \d+\.\d % /m);
});

test('the owner of a host can deny it', async (t) => {
  await addHost(t, server, 'mute', ['--docker', '/nonexistent/docker.sock', '--deny', 'host.metrics']);
  const fresh = await server.api.get(at('mute', 'metrics/latest?fresh=1'));
  assert.deepEqual([fresh.status, fresh.body.code], [403, 'DENIED_BY_HOST']);
  const none = await server.api.get(at('mute', 'metrics/latest'));
  assert.deepEqual([none.status, none.body.code], [404, 'NOT_FOUND']);
  assert.match(none.body.detail, /policy denies host\.metrics/);
  const stats = await server.api.get(at('mute', 'stats'));
  assert.deepEqual([stats.status, stats.body.code], [502, 'DOCKER_UNREACHABLE']);
  assert.deepEqual((await server.api.get(at('mute', 'metrics'))).body.points, []);
});

test('a host that is away leaves a gap, and its series disappear; its history outlives the server', async () => {
  const line = /^fairlead_host_memory_bytes\{host="shed",kind="total"\} \d+$/m;
  await waitFor('its series', async () => line.test((await server.api.get('/metrics')).text));
  const { text } = await server.api.get('/metrics');
  assert.match(text, /^fairlead_host_cpu_usage_ratio\{host="shed"\} (0(\.\d+)?|1)$/m);
  assert.match(text, /^fairlead_host_samples_total \d+$/m);
  await shed.process.stop();
  await waitForState(server, 'shed', 'offline');
  assert.doesNotMatch((await server.api.get('/metrics')).text, /fairlead_host_\w+\{host="shed"/);
  const gone = Date.now();
  const before = await points('from=-5m&step=1');
  server = await restartServer(shared, server, 'stop', EVERY_SECOND);
  assert.deepEqual(await points('from=-5m&step=1'), before);
  await waitFor('a gap', () => Date.now() - gone > 2_500, { everyMs: 100 });
  startAgent(shared, shed, ['--docker', DOCKER_SOCKET]);
  const found = await waitFor('new samples', async () => {
    const all = await points('from=-5m&step=1');
    return all.length > before.length ? all : undefined;
  });
  const times = found.map(({ time }) => Date.parse(time));
  const longest = Math.max(...times.map((time, i) => time - (times[i - 1] ?? time)));
  assert.ok(longest >= 3_000, `the longest step was ${longest} ms`);
  assert.ok(
    found.every(({ memory }) => memory.totalBytes.avg > 0),
    'no zeros',
  );
});

test('what is kept of a host goes with it', async () => {
  assert.equal((await server.api.delete('/api/v1/hosts/shed')).status, 204);
  const database = new Database(join(server.dataDir, 'fairlead.db'), { readonly: true, timeout: 5000 });
  shared.after(() => database.close());
  const rows = database.prepare('select (select count(*) from host_metrics) + (select count(*) from metric_hosts) n');
  await waitFor('its rows to go', () => (rows.get() as { n: number }).n === 0);
});
