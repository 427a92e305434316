/** One agent that a Dockhand server uses, too: by Standard mode, and by Edge mode, for which this server plays Dockhand's part. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { requireDocker, TEST_IMAGE, TEST_LABEL, testContainer } from '../support/docker.ts';
import { directly, type Outcome, programs, runClient, type Target } from '../support/docker-client.ts';
import { ExecClient } from '../support/exec-client.ts';
import { type Launched, launch } from '../support/launcher.ts';
import { type Enrolled, enroll, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const cleanup = fileCleanup();
let server: Server;
let enrolled: Enrolled;
let agent: Launched;
let tokenFile: string;
let token: string;
let port: number;
let target: Target;
let docker: string;

before(async () => {
  await requireDocker();
  server = await startServer(cleanup);
  const made = await server.api.post('/api/hawser/tokens', { name: 'moving' });
  token = made.body.token;
  const dir = await tempDir(cleanup, 'hawser');
  tokenFile = join(dir, 'token');
  await writeFile(tokenFile, `${token}\n`, { mode: 0o600 });
  await writeFile(join(dir, 'ca.pem'), server.caPem);
  enrolled = await enroll(cleanup, server, 'native');
  const url = `${server.runtime.apiUrl.replace(/^https/, 'wss')}/api/hawser/connect`;
  agent = startAgent(cleanup, enrolled, [
    ...['--hawser-standard', '127.0.0.1:0', '--hawser-token-file', tokenFile],
    ...['--hawser-edge', url, '--hawser-ca-file', join(dir, 'ca.pem')],
    ...['--deny', 'container.kill'],
  ]);
  port = await waitFor(
    'the port',
    () => Number(/"address":"127\.0\.0\.1:(\d+)"/.exec(agent.stderr)?.[1]) || undefined,
    {
      context: () => agent.transcript(),
      failed: () => (agent.exit === undefined ? undefined : 'it ended'),
    },
  );
  const config = await directly(cleanup);
  const headers = { HttpHeaders: { 'X-Hawser-Token': token } };
  await writeFile(join(config['DOCKER_CONFIG'] ?? '', 'config.json'), JSON.stringify(headers), { mode: 0o600 });
  target = { ...config, DOCKER_HOST: `tcp://127.0.0.1:${port}` };
  docker = (await programs('docker'))[0] ?? '';
  await waitForState(server, 'moving', 'online');
});

async function call(
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number | undefined; text: string }> {
  const headers = { 'X-Hawser-Token': token, 'Content-Type': 'application/json' };
  const outgoing = request({ host: '127.0.0.1', port, method, path, headers, agent: false });
  outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  return { status: response.statusCode, text: await text(response) };
}

test('an unmodified docker CLI does by Standard mode what it does at the socket', async () => {
  const here = await directly(cleanup);
  const { name } = await testContainer(cleanup);
  const made = ['--network', 'none', '--label', TEST_LABEL];
  const steps: { args: string[]; input?: string }[] = [
    { args: ['run', '--rm', '-i', ...made, TEST_IMAGE, 'cat'], input: 'a line\nno end of line' },
    { args: ['exec', name, 'sh', '-c', 'echo out; echo err >&2; exit 7'] },
    { args: ['exec', '-i', name, 'sh', '-c', 'cat; exit 4'], input: 'x'.repeat(300_000) },
    { args: ['cp', `${name}:/etc/passwd`, '-'] },
  ];
  const outcomes = await Promise.all(
    steps.map(async ({ args, input = '' }): Promise<[Outcome, Outcome]> => {
      const run = (at: Target) => runClient(cleanup, at, [docker, ...args], { input });
      return [await run(target), await run(here)];
    }),
  );
  for (const [at, [byHawser, bySocket]] of outcomes.entries()) {
    assert.deepEqual(byHawser, bySocket, String(steps[at]?.args));
  }
});

test('what Hawser cuts, or answers with another status, comes as it is', async () => {
  const { name } = await testContainer(cleanup);
  const started = performance.now();
  const command = [docker, 'run', '-d', '--rm', '--network', 'none', '--label', TEST_LABEL, TEST_IMAGE, 'true'];
  const detached = await runClient(cleanup, target, command);
  assert.equal(detached.code, 0, detached.stderr);
  assert.ok(performance.now() - started < 10_000, 'no wait of 30 s');
  const unknown = await call('POST', '/exec/0000/start', { Detach: false, Tty: false });
  assert.equal(unknown.status, 404);
  const killed = await call('POST', `/v1.41/containers/${name}/kill`);
  assert.equal(killed.status, 403);
  assert.match(JSON.parse(killed.text).message, /this host's policy/);
});

test('an exec by a bare connection ends by its own input, and has an exit code', async () => {
  const { name } = await testContainer(cleanup);
  const created = await call('POST', `/containers/${name}/exec`, {
    ...{ AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: false },
    Cmd: ['sh', '-c', 'wc -c; exit 5'],
  });
  const { Id } = JSON.parse(created.text);
  const body = '{"Detach":false,"Tty":false}';
  const socket = createConnection({ host: '127.0.0.1', port, allowHalfOpen: true });
  const head = [
    ...[`POST /exec/${Id}/start HTTP/1.1`, 'Host: x', `X-Hawser-Token: ${token}`, 'Content-Type: application/json'],
    ...['Connection: Upgrade', 'Upgrade: tcp', `Content-Length: ${body.length}`, '', body],
  ];
  socket.write(head.join('\r\n'));
  const [first] = (await once(socket, 'data')) as [Buffer];
  assert.match(first.toString(), /^HTTP\/1\.1 101 /);
  socket.end('twelve bytes');
  const answer = await text(socket);
  assert.match(answer, /12\n$/);
  const ended = await waitFor('the exit code', async () => {
    const state = JSON.parse((await call('GET', `/exec/${Id}/json`)).text);
    return state.Running === false && state.ExitCode !== null ? state : undefined;
  });
  assert.equal(ended.ExitCode, 5);
});

test('Edge mode is a host like any other to its server', async () => {
  const { name, id } = await testContainer(cleanup, { cmd: ['sh', '-c', 'echo said; sleep 1000'] });
  const { body: host } = await server.api.get('/api/v1/hosts/moving');
  assert.equal(host.kind, 'hawser-edge');
  const at = `/api/v1/hosts/moving/containers/${name}`;
  await waitFor('the log', async () => (await server.api.get(`${at}/logs`)).text === 'said\n');
  const ran = await server.api.post(`${at}/exec`, { cmd: ['sh', '-c', 'echo out; echo err >&2; exit 3'] });
  const { exitCode, stdout, stderr } = ran.body;
  assert.deepEqual([exitCode, stdout, stderr], [3, 'out\n', 'err\n'], ran.text);
  const shell = await ExecClient.open(server.api, 'moving', name, { cmd: ['/bin/sh'], tty: true, cols: 100, rows: 30 });
  await shell.waitForOutput(/# /);
  for (const key of 'stty size; exit 6\n') shell.type(key);
  await shell.closed;
  assert.match(shell.output, /30 100/);
  assert.equal(shell.exitCode, 6);
  const denied = await server.api.post(`${at}/kill`);
  assert.equal(denied.status >= 400, true, denied.text);
  assert.match(denied.body.detail, /this host's policy/);
  await waitFor('its start among the events', async () => {
    const { body } = await server.api.get('/api/v1/events?limit=100', { headers: { accept: 'application/json' } });
    return body?.items.some((event: unknown) => JSON.stringify(event).includes(id));
  });
});

test('a port that is in use is told, and a stop closes both', async () => {
  const other = await enroll(cleanup, server, 'other');
  const args = ['run', '--state-dir', other.stateDir, '--hawser-standard', `127.0.0.1:${port}`];
  const second = launch(cleanup, 'agent', args, { env: { FAIRLEAD_HAWSER_TOKEN: token } });
  assert.equal((await second.exited).code, 1);
  assert.match(second.stderr, /in use by another program.*--hawser-standard/);
  assert.ok(!second.stderr.includes(token) && !agent.stderr.includes(token), 'no token in the logs');
  await agent.stop();
  assert.equal(agent.exit?.code, 0, agent.transcript());
  await assert.rejects(call('GET', '/_ping'), /ECONNREFUSED/);
  await waitForState(server, 'moving', 'offline');
});
