/** Other clients of Docker's API, unmodified: a context of the CLI, BuildKit, both sorts of Compose, dockerode, testcontainers. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, type TestContext, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import Docker from 'dockerode';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { dockerApi, requireDocker, TEST_IMAGE, TEST_LABEL, testContainer } from '../support/docker.ts';
import { directly, meshHost, programs, runClient, type Target, throughMesh } from '../support/docker-client.ts';
import { ROOT } from '../support/launcher.ts';
import { addHost, type Enrolled, type Server, startServer } from '../support/mesh.ts';
import { type Cleanup, defer, fileCleanup, tempDir } from '../support/tmp.ts';

const shared = fileCleanup();
let server: Server;
let host: Enrolled;
let clis: string[];

before(async () => {
  await requireDocker();
  clis = await programs('docker');
  server = await startServer(shared);
  host = await addHost(shared, server, 'shop');
});

function fairlead(args: readonly string[], env: Record<string, string> = {}): Promise<CliRun> {
  const connection = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  return runCliHere([...connection, ...args], { env: { PATH: process.env['PATH'] ?? '', ...env } });
}

/** A directory with a client certificate, as DOCKER_CERT_PATH expects it. */
async function certificates(cleanup: Cleanup, ...limits: string[]): Promise<string> {
  const dir = join(await tempDir(cleanup, 'cert'), 'cert');
  const made = await fairlead(['operator', 'create', 'client', '--role', 'operator', '--out', dir, ...limits]);
  assert.equal(made.exit.code, 0, made.transcript());
  return dir;
}

/** A folder to build from, whose image says `built` in every file that it has. */
async function buildContext(t: TestContext): Promise<string> {
  const dir = await tempDir(t, 'build');
  await writeFile(
    join(dir, 'Dockerfile'),
    `FROM ${TEST_IMAGE}\nCOPY . /context\nRUN cat /context/big | wc -c > /size\n`,
  );
  await writeFile(join(dir, 'big'), randomBytes(5_000_000));
  return dir;
}

test('docker-context: a context for one host, with which the CLI and BuildKit work and which reaches no other', async (t) => {
  const config = await tempDir(t, 'docker-config');
  const made = await fairlead(['docker-context', 'shop', '--use'], { DOCKER_CONFIG: config });
  assert.equal(made.exit.code, 0, made.transcript());
  assert.match(made.stdout, /fairlead-shop/);
  const target = { DOCKER_CONFIG: config, DOCKER_HOST: '', DOCKER_TLS_VERIFY: '', DOCKER_CERT_PATH: '' };
  const [cli = ''] = clis;
  const { name } = await testContainer(t);
  assert.equal((await runClient(t, target, [cli, 'exec', '-i', name, 'cat'], { input: 'through' })).stdout, 'through');
  const image = `fl-test-context-${randomBytes(4).toString('hex')}`;
  defer(t, () => dockerApi('DELETE', `/images/${image}`));
  const dir = await buildContext(t);
  for (const cli of await withBuildKit(t)) {
    const args = [cli, 'build', '--no-cache', '--network', 'none', '-t', image, dir];
    const built = await runClient(t, target, args, { env: { DOCKER_BUILDKIT: '1' } });
    assert.equal(built.code, 0, built.stderr);
    const size = await runClient(t, target, [cli, 'run', '--rm', '--network', 'none', image, 'cat', '/size']);
    assert.equal(size.stdout.trim(), '5000000');
  }
  const again = await fairlead(['docker-context', 'shop'], { DOCKER_CONFIG: config });
  assert.equal(again.exit.code, 1);
  assert.match(again.stderr, /has a context fairlead-shop already: use --force/);
  const forced = await fairlead(['docker-context', 'shop', '--force'], { DOCKER_CONFIG: config });
  assert.equal(forced.exit.code, 0, forced.transcript());
  assert.equal((await runClient(t, target, [cli, 'ps'])).code, 0);
  const { body } = await server.api.get('/api/v1/operator-certificates');
  const states = body.items.map(({ state }: { state: string }) => state).toSorted();
  assert.deepEqual(states, ['active', 'revoked'], 'the certificate that the context had');
  await addHost(t, server, 'other');
  const elsewhere = { ...meshHost(server, 'other'), DOCKER_CERT_PATH: await certOf(t, config, cli) };
  const denied = await runClient(t, elsewhere, [cli, 'ps'], { env: { DOCKER_CONTEXT: '' } });
  assert.equal(denied.code, 1);
  assert.match(denied.stderr, /there is no host "other"/);
});

/** The CLIs that build by BuildKit without a plugin. */
async function withBuildKit(t: TestContext): Promise<string[]> {
  const found: string[] = [];
  for (const cli of clis) {
    const { stdout } = await runClient(t, await directly(t), [cli, '--version']);
    if (/version (?:19|20)\./.test(stdout)) found.push(cli);
  }
  return found;
}

/** What docker has taken over of a context's certificate. */
async function certOf(t: TestContext, config: string, cli: string): Promise<string> {
  const format = '{{.Storage.TLSPath}}';
  const { stdout } = await runClient(t, { DOCKER_CONFIG: config }, [
    cli,
    'context',
    'inspect',
    '--format',
    format,
    'fairlead-shop',
  ]);
  return join(stdout.trim(), 'docker');
}

const COMPOSE = `services:
  one:
    image: ${TEST_IMAGE}
    command: sh -c 'echo first; trap "exit 0" TERM; sleep 1000 & wait'
    network_mode: none
    labels: {${TEST_LABEL}: "1"}
    volumes: [data:/data]
volumes:
  data:
`;

/** What both sorts of Compose understand. */
async function composeSession(t: TestContext, target: Target, compose: readonly string[]): Promise<string[]> {
  const project = `fl-test-${randomBytes(4).toString('hex')}`;
  const cwd = await tempDir(t, 'compose');
  await mkdir(join(cwd, 'project'));
  await writeFile(join(cwd, 'docker-compose.yml'), COMPOSE);
  const command = [...compose, '-p', project];
  defer(t, () => runClient(t, target, [...command, 'down', '-v', '-t', '1'], { cwd }));
  const said: string[] = [];
  for (const [line, input] of [
    ['config --quiet'],
    ['up -d'],
    ['ps -q'],
    ['logs --no-color'],
    ['exec -T one cat', 'through compose'],
    ['exec -T one false'],
    ['exec -T nobody true'],
    ['stop -t 1'],
    ['down -v'],
  ] as [string, string?][]) {
    const options = { cwd, ...(input === undefined ? {} : { input }) };
    const { code, stdout, stderr } = await runClient(t, target, [...command, ...line.split(' ')], options);
    const lines = `${stdout}\n${stderr}`
      .replaceAll(project, 'PROJECT')
      .replaceAll(/\b[0-9a-f]{64}\b/g, 'ID')
      .split('\n');
    // Progress of several things comes in any order, and in as many steps as there is time for.
    const kept = [...new Set(lines.map((each) => stripVTControlCharacters(each).trim()))].sort();
    said.push(`$ compose ${line}\n${kept.join('\n')}\n--- ${code}`);
  }
  return said;
}

test('docker compose does the same through the mesh and at the socket', async (t) => {
  const [cli = ''] = clis;
  const version = await runClient(t, await directly(t), [cli, 'compose', 'version', '--short']);
  assert.match(version.stdout, /^2\./, 'docker compose, version 2, is not installed');
  const [socket, mesh] = await Promise.all([
    directly(t).then((target) => composeSession(t, target, [cli, 'compose'])),
    throughMesh(t, server, 'shop').then((target) => composeSession(t, target, [cli, 'compose'])),
  ]);
  assert.deepEqual(mesh, socket);
});

test('docker-compose 1.29 does the same through the mesh and at the socket', async (t) => {
  const [compose] = await programs('docker-compose');
  assert.ok(compose, 'docker-compose is not installed');
  const certified = async () => ({
    ...(await directly(t)),
    ...meshHost(server, 'shop'),
    DOCKER_CERT_PATH: await certificates(t),
  });
  const [socket, mesh] = await Promise.all([
    directly(t).then((target) => composeSession(t, target, [compose])),
    certified().then((target) => composeSession(t, target, [compose])),
  ]);
  assert.deepEqual(mesh, socket);
});

test('dockerode: an exec whose input ends, a log, an archive and an error', async (t) => {
  // It knows no path in its address: the certificate says which host is meant.
  const dir = await certificates(t, '--host', host.name);
  const [ca, cert, key] = await Promise.all(
    ['ca', 'cert', 'key'].map((name) => readFile(join(dir, `${name}.pem`), 'utf8')),
  );
  const { port } = new URL(server.runtime.apiUrl);
  const docker = new Docker({
    protocol: 'https',
    host: 'localhost',
    port,
    ca,
    cert,
    key,
  } as Docker.DockerOptions);
  const { id } = await testContainer(t, { cmd: ['sh', '-c', 'echo said; trap "exit 0" TERM; sleep 1000 & wait'] });
  const container = docker.getContainer(id);
  const exec = await container.exec({
    Cmd: ['sh', '-c', 'cat; echo ended; exit 5'],
    AttachStdin: true,
    AttachStdout: true,
  });
  const stream = await exec.start({ hijack: true, stdin: true });
  stream.end('typed\n');
  assert.match(await text(stream), /typed\n.*ended\n/s);
  assert.equal((await exec.inspect()).ExitCode, 5);
  const log = (await (container.logs({ stdout: true }) as unknown as Promise<Buffer>)).toString();
  assert.match(log, /said/);
  assert.match(await text(await container.getArchive({ path: '/etc/passwd' })), /guest/);
  await assert.rejects(docker.getContainer('no-such').inspect(), { statusCode: 404, reason: 'no such container' });
});

test('testcontainers does the same through the mesh and at the socket', async (t) => {
  const session = join(ROOT, 'test/support/testcontainers-session.ts');
  // Without these it pulls images of its own: a reaper, and one that looks for the host's address.
  const env = { TESTCONTAINERS_RYUK_DISABLED: 'true', TESTCONTAINERS_HOST_OVERRIDE: 'localhost' };
  const [socket, mesh] = await Promise.all([
    directly(t).then((target) => runClient(t, target, [process.execPath, session], { env })),
    certificates(t, '--host', host.name).then((dir) => {
      const { port } = new URL(server.runtime.apiUrl);
      const target = { DOCKER_HOST: `tcp://localhost:${port}`, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: dir };
      return runClient(t, target, [process.execPath, session], { env });
    }),
  ]);
  assert.equal(socket.code, 0, socket.stderr);
  assert.deepEqual(mesh, socket);
  assert.match(socket.stdout, /^exec: {"exitCode":3,"stdout":"by the environment\\n","stderr":"err\\n"}/);
  assert.match(socket.stdout, /log: .*"ready".*"stopping"/);
});
