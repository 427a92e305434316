/** Containers of a real Engine through the mesh: read, changed, their logs and exec, over REST. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { dockerApi, testContainer } from '../support/docker.ts';
import { ExecClient } from '../support/exec-client.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const CHATTER = ['sh', '-c', 'for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done; exec sleep 100000'];
const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
  await addHost(shared, server, 'shed');
});

const route = (container: string, rest = '') => `/api/v1/hosts/shed/containers/${container}${rest}`;

async function stateOf(id: string): Promise<string> {
  return (await dockerApi('GET', `/containers/${id}/json`)).body.State.Status;
}

/** Waits until the Engine has all ten lines of CHATTER. */
async function chatter(cleanup: { after(fn: () => unknown): void }): Promise<string> {
  const { id } = await testContainer(cleanup, { cmd: CHATTER });
  await waitFor('the container to have spoken', async () => {
    const { text } = await server.api.get(route(id, '/logs'));
    return text.split('\n').length > 10;
  });
  return id;
}

test('containers are listed and inspected in Docker’s own words', async (t) => {
  const running = await testContainer(t);
  const created = await testContainer(t, { start: false });
  const ids = async (query: string) => {
    const { body } = await server.api.get(`/api/v1/hosts/shed/containers${query}`);
    return body.items.map((one: { Id: string }) => one.Id);
  };
  const visible = await ids('');
  assert.ok(visible.includes(running.id) && !visible.includes(created.id));
  const all = await ids('?all=1');
  assert.ok(all.includes(running.id) && all.includes(created.id));
  const inspected = await server.api.get(route(running.name));
  const direct = await dockerApi('GET', `/containers/${running.id}/json`);
  assert.deepEqual(inspected.body, direct.body);
});

test('a container is started, paused, unpaused, restarted, stopped, killed and removed', async (t) => {
  const { id } = await testContainer(t, { start: false });
  const act = async (action: string, state: string, query = '') => {
    const answer = await server.api.post(route(id, `/${action}${query}`));
    assert.ok(answer.status < 300, `${action}: ${answer.status} ${answer.text}`);
    assert.equal(await stateOf(id), state, action);
  };
  await act('start', 'running');
  await act('pause', 'paused');
  await act('unpause', 'running');
  const startedAt = (await dockerApi('GET', `/containers/${id}/json`)).body.State.StartedAt;
  await act('restart', 'running');
  assert.notEqual((await dockerApi('GET', `/containers/${id}/json`)).body.State.StartedAt, startedAt);
  await act('stop', 'exited');
  await act('start', 'running');
  await act('kill', 'exited');
  const removed = await server.api.delete(route(id));
  assert.ok(removed.status < 300, removed.text);
  assert.equal((await dockerApi('GET', `/containers/${id}/json`)).status, 404);
});

test('what does not exist, or cannot be done, is told by a stable code', async (t) => {
  const { id } = await testContainer(t);
  const unknownHost = await server.api.get('/api/v1/hosts/nowhere/containers');
  assert.deepEqual([unknownHost.status, unknownHost.body.code], [404, 'HOST_NOT_FOUND']);
  const unknown = await server.api.get(route('fl-test-no-such-container'));
  assert.deepEqual([unknown.status, unknown.body.code], [404, 'CONTAINER_NOT_FOUND']);
  const logs = await server.api.get(route('fl-test-no-such-container', '/logs'));
  assert.deepEqual([logs.status, logs.body.code], [404, 'CONTAINER_NOT_FOUND']);
  const remove = await server.api.delete(route(id));
  assert.deepEqual([remove.status, remove.body.code], [409, 'CONFLICT']);
  const tail = await server.api.get(route(id, '/logs?tail=x'));
  assert.deepEqual([tail.status, tail.body.code], [400, 'VALIDATION']);
  for (const answer of [unknownHost, unknown, logs, remove, tail]) {
    assert.ok(answer.body.detail.length > 0);
    assert.match(String(answer.headers['content-type']), /^application\/problem\+json/);
  }
});

test('processes and statistics of a container', async (t) => {
  const { id } = await testContainer(t, { cmd: ['sleep', '98765'] });
  const top = await server.api.get(route(id, '/top'));
  assert.match(JSON.stringify(top.body), /98765/);
  const response = await server.api.open('GET', route(id, '/stats'));
  const [sample] = await new Promise<string[]>((resolve) => {
    let text = '';
    response.on('data', (data: Buffer) => {
      text += data.toString();
      if (text.includes('\n')) resolve(text.split('\n'));
    });
  });
  response.destroy();
  assert.ok(JSON.parse(sample ?? '').memory_stats);
});

test('a log by default has both streams and all lines; tail, since, until and timestamps choose', async (t) => {
  const id = await chatter(t);
  const get = async (query: string) => (await server.api.get(route(id, `/logs${query}`))).text;
  const lines = [1, 2, 3, 4, 5].flatMap((i) => [`out ${i}`, `err ${i}`]);
  assert.deepEqual((await get('')).trim().split('\n').sort(), lines.sort());
  assert.equal(await get('?stderr=0'), 'out 1\nout 2\nout 3\nout 4\nout 5\n');
  assert.equal(await get('?stdout=0'), 'err 1\nerr 2\nerr 3\nerr 4\nerr 5\n');
  assert.equal((await get('?tail=3')).trim().split('\n').length, 3);
  assert.equal(await get('?tail=0'), '');
  const stamped = (await get('?timestamps=1&stderr=0')).trim().split('\n');
  for (const line of stamped) assert.match(line, /^\d{4}-\d\d-\d\dT[\d:.]+Z out \d$/);
  const last = stamped.at(-1)?.split(' ')[0] ?? '';
  assert.equal(await get(`?stderr=0&since=${encodeURIComponent(new Date(Date.parse(last) + 1000).toISOString())}`), '');
  assert.equal(await get(`?stderr=0&until=${encodeURIComponent(new Date(Date.now() - 3_600_000).toISOString())}`), '');
});

test('as NDJSON a log says of each line which stream it came from', async (t) => {
  const id = await chatter(t);
  const headers = { accept: 'application/x-ndjson' };
  const { text } = await server.api.get(route(id, '/logs?timestamps=1'), { headers });
  const records = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(records.length, 10);
  for (const { stream, line, time } of records) {
    assert.equal(line.slice(0, 3), stream === 'stdout' ? 'out' : 'err');
    assert.ok(Number.isFinite(Date.parse(time)), time);
  }
});

test('a followed log shows what comes and ends with the container', async (t) => {
  const script = 'echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last';
  const { id } = await testContainer(t, { cmd: ['sh', '-c', script] });
  const response = await server.api.open('GET', route(id, '/logs?follow=1'));
  let text = '';
  response.on('data', (data: Buffer) => {
    text += data.toString();
  });
  const ended = new Promise((resolve) => response.once('end', resolve));
  await waitFor('the first line', () => text === 'first\n');
  const touch = await ExecClient.open(server.api, 'shed', id, { cmd: ['touch', '/tmp/go'] });
  await touch.end();
  await ended;
  assert.equal(text, 'first\nlast\n');
});

test('exec without a terminal: arguments, environment, user, directory, both outputs, the exit code', async (t) => {
  const { id } = await testContainer(t);
  const script = 'echo "$1|$GREETING|$(id -u)|$(pwd)"; echo oops >&2; exit 7';
  const exec = await ExecClient.open(server.api, 'shed', id, {
    cmd: ['sh', '-c', script, 'sh', 'two words'],
    env: ['GREETING=grüß dich'],
    user: 'guest',
    workdir: '/tmp',
    separate: true,
  });
  assert.equal(await exec.end(), 7);
  assert.equal(Buffer.from(exec.output, 'latin1').toString(), 'two words|grüß dich|1000|/tmp\n');
  assert.equal(exec.stderr, 'oops\n');
});

test('exec without a terminal: the end of stdin is passed on, the output still comes', async (t) => {
  const { id } = await testContainer(t);
  const exec = await ExecClient.open(server.api, 'shed', id, { cmd: ['wc', '-c'] });
  const chunk = 'x'.repeat(64 * 1024);
  for (let i = 0; i < 16; i++) exec.type(chunk);
  exec.control({ end: true });
  assert.equal(await exec.end(), 0);
  assert.equal(exec.output.trim(), String(16 * chunk.length));
});

test('exec with a terminal: prompt, size, resize, Ctrl-C, exit code', async (t) => {
  const { id } = await testContainer(t);
  const exec = await ExecClient.open(server.api, 'shed', id, { cmd: ['sh'], tty: true, cols: 101, rows: 33 });
  exec.type('stty size\n');
  await exec.waitForOutput(/33 101/);
  exec.control({ resize: { cols: 77, rows: 22 } });
  await waitFor('the new size', () => {
    exec.type('stty size\n');
    return /22 77/.test(exec.output);
  });
  exec.type('sleep 5555; echo interrupted=$?\n');
  await waitFor('the sleep', async () => {
    const top = await dockerApi('GET', `/containers/${id}/top`);
    return JSON.stringify(top.body).includes('sleep 5555');
  });
  exec.type('\x03');
  exec.type('echo after-$((40+2))\n');
  await exec.waitForOutput(/after-42/);
  exec.type('exit 9\n');
  assert.equal(await exec.end(), 9);
});

test('exec of what cannot be run, and in what does not run', async (t) => {
  const { id } = await testContainer(t);
  const missing = await ExecClient.open(server.api, 'shed', id, { cmd: ['/no/such/program'] }).catch(() => undefined);
  if (missing !== undefined) assert.ok([126, 127].includes((await missing.end()) ?? -1), JSON.stringify(missing.close));
  const stopped = await testContainer(t, { start: false });
  const refused = await ExecClient.open(server.api, 'shed', stopped.id, { cmd: ['true'] }).then(
    async (exec) => (await exec.closed).code !== 1000,
    () => true,
  );
  assert.ok(refused);
});

test('a viewer reads and may not act; an operator acts and may not administer', async (t) => {
  const { id } = await testContainer(t);
  const tokenOf = async (role: string) =>
    (await server.api.post('/api/v1/api-tokens', { name: role, role })).body.token;
  const viewer = { token: await tokenOf('viewer') };
  const operator = { token: await tokenOf('operator') };
  assert.equal((await server.api.get(route(id), viewer)).status, 200);
  for (const action of ['stop', 'start', 'restart', 'kill', 'pause', 'unpause']) {
    const answer = await server.api.post(route(id, `/${action}`), undefined, viewer);
    assert.deepEqual([answer.status, answer.body.code], [403, 'FORBIDDEN'], action);
  }
  assert.ok((await server.api.post(route(id, '/restart?t=0'), undefined, operator)).status < 300);
  assert.equal((await server.api.post('/api/v1/enrollment-tokens', {}, operator)).status, 403);
  assert.equal((await server.api.post('/api/v1/hosts/shed/revoke', { reason: 'x' }, operator)).status, 403);
  assert.equal((await server.api.get('/api/v1/hosts', operator)).status, 200);
});

test('the host’s own policy wins over an admin', async (t) => {
  const { id } = await testContainer(t);
  await addHost(t, server, 'strict', ['--deny', 'exec', '--deny', 'container.stop']);
  const at = (rest: string) => `/api/v1/hosts/strict/containers/${id}${rest}`;
  assert.equal((await server.api.get(at(''))).status, 200);
  const stop = await server.api.post(at('/stop'));
  assert.deepEqual([stop.status, stop.body.code], [403, 'DENIED_BY_HOST']);
  assert.equal(await stateOf(id), 'running');
  await assert.rejects(ExecClient.open(server.api, 'strict', id, { cmd: ['true'] }));
});

test('one question to all hosts names those that could not answer', async (t) => {
  const { id } = await testContainer(t);
  const away = await addHost(t, server, 'away');
  await away.process.kill();
  const { body } = await server.api.get('/api/v1/containers');
  assert.ok(body.items.some((one: { Id: string }) => one.Id === id));
  assert.ok(body.unreachable.some((one: { host: string; code: string }) => one.code === 'HOST_OFFLINE'));
});

test('every change is in the audit log, without secrets', async (t) => {
  const { id } = await testContainer(t);
  await server.api.post(route(id, '/restart?t=0'));
  const { token } = (await server.api.post('/api/v1/enrollment-tokens', {})).body;
  const exec = await ExecClient.open(server.api, 'shed', id, { cmd: ['true'] });
  await exec.end();
  const audit = await server.api.get('/api/v1/audit?limit=100');
  assert.equal(audit.status, 200);
  assert.ok(!audit.text.includes(token) && !audit.text.includes(server.adminToken));
  for (const action of [/restart/, /exec/, /enroll/]) assert.match(audit.text, action);
});
