/** attach, cp, forward, and images as tars, by the CLI against a real Engine. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { lstat, mkdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { type CliRunOptions, runCliHere } from '../support/cli.ts';
import { dockerApi, TEST_IMAGE, testContainer } from '../support/docker.ts';
import { launch } from '../support/launcher.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
  const named = ['--allow', 'full', '--allow', 'tcp:*:8080', '--allow', 'tcp:host:*'];
  await Promise.all([addHost(shared, server, 'shed', named), addHost(shared, server, 'plain')]);
});

const token = () => ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];

async function cli(args: string[], options: CliRunOptions = {}) {
  return await runCliHere([...token(), ...args], options);
}

async function good(args: string[], options: CliRunOptions = {}): Promise<string> {
  const run = await cli(args, options);
  assert.equal(run.exit.code, 0, run.transcript());
  return run.stdout;
}

async function inside(id: string, script: string): Promise<string> {
  const answer = await server.api.post(`/api/v1/hosts/shed/containers/${id}/exec`, { cmd: ['sh', '-c', script] });
  return answer.body.stdout;
}

test('cp copies files and directories out as docker cp does', async (t) => {
  const { id } = await testContainer(t);
  await inside(id, 'mkdir -p /tmp/d/sub; echo one > /tmp/d/a; echo two > /tmp/d/sub/b; ln -s sub/b /tmp/d/l');
  const dir = await tempDir(t, 'cp');
  await good(['cp', `shed:${id}:/tmp/d`, join(dir, 'new')]);
  assert.equal(await readFile(join(dir, 'new/sub/b'), 'utf8'), 'two\n');
  assert.equal(await readlink(join(dir, 'new/l')), 'sub/b');
  await good(['cp', `shed:${id}:/tmp/d`, dir]);
  assert.equal(await readFile(join(dir, 'd/a'), 'utf8'), 'one\n');
  await mkdir(join(dir, 'flat'));
  await good(['cp', `shed:${id}:/tmp/d/.`, join(dir, 'flat')]);
  assert.equal(await readFile(join(dir, 'flat/a'), 'utf8'), 'one\n');
  await good(['cp', `shed:${id}:/tmp/d/a`, join(dir, 'file')]);
  await good(['cp', `shed:${id}:/tmp/d/a`, dir]);
  for (const name of ['file', 'a']) assert.equal(await readFile(join(dir, name), 'utf8'), 'one\n');
  assert.match(await good(['cp', `shed:${id}:/tmp/d/a`, '-']), /^a\0.*one\n/s);
  const missing = await cli(['cp', `shed:${id}:/nothing`, dir]);
  assert.deepEqual([missing.exit.code, /NOT_FOUND/.test(missing.stderr)], [1, true], missing.transcript());
  const onto = await cli(['cp', `shed:${id}:/tmp/d`, join(dir, 'file')]);
  assert.match(onto.stderr, /is a file, and a directory is to be copied/);
  assert.equal((await cli(['cp', `shed:${id}:/tmp/d/a`, `${dir}/none/`])).exit.code, 1);
});

test('cp copies files and directories in, and - is a tar', async (t) => {
  const { id } = await testContainer(t);
  const dir = await tempDir(t, 'cp');
  await mkdir(join(dir, 'src/sub'), { recursive: true });
  const big = randomBytes(600_000).toString('hex');
  await writeFile(join(dir, 'src/sub/big'), big);
  await writeFile(join(dir, 'src/empty'), '');
  await symlink('sub/big', join(dir, 'src/l'));
  await inside(id, 'mkdir /tmp/there; echo old > /tmp/file; ln -s /tmp/there /tmp/link');
  await good(['cp', join(dir, 'src'), `shed:${id}:/tmp/new`]);
  await good(['cp', join(dir, 'src'), `shed:${id}:/tmp/there`]);
  await good(['cp', `${join(dir, 'src')}/.`, `shed:${id}:/tmp/link`]);
  const names = await inside(id, 'cd /tmp; ls new there there/src; readlink new/l; wc -c < new/sub/big');
  const source = 'empty\nl\nsub\n';
  assert.equal(names, `new:\n${source}\nthere:\nempty\nl\nsrc\nsub\n\nthere/src:\n${source}sub/big\n${big.length}\n`);
  await good(['cp', join(dir, 'src/sub/big'), `shed:${id}:/tmp/file`]);
  assert.equal(await inside(id, 'wc -c < /tmp/file'), `${big.length}\n`);
  const onto = await cli(['cp', join(dir, 'src'), `shed:${id}:/tmp/file`]);
  assert.match(onto.stderr, /is a file in the container/);
  const tar = join(dir, 'x.tar');
  await good(['image', 'save', 'shed', TEST_IMAGE, '--out', tar]);
  assert.ok((await stat(tar)).size > 100_000);
  await good(['cp', tar, `shed:${id}:/tmp/x.tar`]);
  assert.match(await good(['image', 'load', 'shed', tar]), /Loaded image: fairlead-test\/busybox:latest/);
  const broken = await cli(['image', 'load', 'shed', join(dir, 'src/sub/big')]);
  assert.equal(broken.exit.code, 1);
  assert.equal((await cli(['cp', 'a', 'b'])).exit.code, 2);
  assert.equal((await cli(['cp', join(dir, 'none'), `shed:${id}:/tmp`])).exit.code, 1);
  await assert.rejects(lstat(`${tar}.tmp`));
});

test('attach passes input and output on, and its exit code; the end of it leaves the container', async (t) => {
  const script = 'while read line; do echo "said $line"; [ "$line" = end ] && sleep 1 && exit 5; done; sleep 1000';
  const { id } = await testContainer(t, { cmd: ['sh', '-c', script], config: { OpenStdin: true } });
  const leaving = launch(t, 'cli', [...token(), 'attach', 'shed', id]);
  leaving.stdin.write('hello\n');
  await leaving.waitForOutput(/said hello/);
  leaving.signal('SIGINT');
  await leaving.exited;
  assert.equal((await dockerApi('GET', `/containers/${id}/json`)).body.State.Running, true);
  // Its input stays open: once that has ended, Docker may drop what the process says.
  const run = launch(t, 'cli', [...token(), 'attach', '--logs', 'shed', id]);
  run.stdin.write('end\n');
  const { code } = await run.exited;
  assert.deepEqual([code, run.stdout], [5, 'said hello\nsaid end\n'], run.transcript());
  const stopped = await cli(['attach', 'shed', id]);
  assert.match(stopped.stderr, /does not run.*\(CONFLICT\)/);
});

test('forward reaches containers and the host where the policy names them, many at once', async (t) => {
  const web = 'mkdir /w; echo hello > /w/index.html; exec httpd -f -p 8080 -h /w';
  const config = { HostConfig: { NetworkMode: 'bridge' } };
  const { name } = await testContainer(t, { cmd: ['sh', '-c', web], config });
  const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  echo.listen(0, '127.0.0.1');
  await once(echo, 'listening');
  defer(t, () => echo.close());
  const { port } = echo.address() as AddressInfo;
  const specs = [`0:${name}:8080`, `0:${port}`, `0:${name}:22`];
  const forward = launch(t, 'cli', [...token(), 'forward', 'shed', ...specs]);
  await forward.waitForOutput(/:22\n/);
  const ports = [...forward.stdout.matchAll(/127\.0\.0\.1:(\d+) ->/g)].map(([, local]) => Number(local));
  const at = (index: number) => connect({ port: ports[index] ?? 0, host: '127.0.0.1', allowHalfOpen: true });
  await waitFor('the web server', async () => (await fetch(`http://127.0.0.1:${ports[0]}/`)).ok);
  const much = randomBytes(500_000).toString('hex');
  const sent = Array.from({ length: 20 }, async (_, index) => {
    if (index % 2 === 0) return assert.equal(await (await fetch(`http://127.0.0.1:${ports[0]}/`)).text(), 'hello\n');
    const socket = at(1);
    socket.end(much);
    assert.ok((await text(socket)) === much, 'each half to its end');
  });
  await Promise.all(sent);
  const denied = at(2).resume();
  await once(denied, 'error');
  await waitFor('the reason', () => /--allow tcp:.*:22 .*\(DENIED_BY_HOST\)/.test(forward.stderr));
  forward.signal('SIGINT');
  assert.deepEqual(await forward.exited, { code: 0, signal: null });
  const off = await server.api.get(`/api/v1/hosts/plain`);
  assert.ok(off.body.policy.allow.length === 0 && !off.body.capabilities.includes('tcp.open'));
  const rows = (await server.api.get('/api/v1/audit?action=tcp.open&limit=100')).body.items;
  assert.ok(
    rows.some((row: { result: string; target: string }) => row.result === 'refused' && row.target.endsWith(':22')),
  );
});
