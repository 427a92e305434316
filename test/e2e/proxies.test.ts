/** The files of install/proxies in front of real servers: what people do goes through nginx, HAProxy and Caddy unharmed. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { dockerApi, requireDocker, TEST_IMAGE, TEST_LABEL, testContainer } from '../support/docker.ts';
import { directly, programs, runClient, type Target, throughMesh } from '../support/docker-client.ts';
import { Api } from '../support/http.ts';
import { entryOf, launch, launchCommand, run } from '../support/launcher.ts';
import { addHost, enroll, type Runtime, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import {
  freePorts,
  ownAddress,
  type ProxyCertificate,
  proxyCertificate,
  startCaddy,
  startHaproxy,
  startNginx,
  type Values,
} from '../support/proxies.ts';
import { followEvents } from '../support/sse.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const IMAGE = `fl-test-${randomBytes(6).toString('hex')}`;
const LAYER_BYTES = 6 * 1024 * 1024;
const TALKS = [
  'sh',
  '-c',
  'trap "exit 0" TERM; echo one; until [ -e /go ]; do sleep 0.05; done; echo two; sleep 1000 & wait',
];
const address = ownAddress();
const shared = fileCleanup();
let docker: string;
let certificate: ProxyCertificate;
/** What `docker save` made of IMAGE, which the Engine has no more. */
let saved: string;

before(async () => {
  await requireDocker();
  [docker = ''] = await programs('docker');
  certificate = await proxyCertificate(shared, address);
  const dir = await tempDir(shared, 'image');
  saved = join(dir, 'saved.tar');
  await writeFile(join(dir, 'noise'), randomBytes(LAYER_BYTES));
  const script = `tar -C ${dir} -c noise | ${docker} import -m ${TEST_LABEL} - ${IMAGE}:1 && ${docker} save -o ${saved} ${IMAGE}:1 && ${docker} rmi ${IMAGE}:1`;
  const made = await runClient(shared, await directly(shared), ['sh', '-c', script]);
  assert.equal(made.code, 0, made.stderr);
});

const portOf = (url: string) => new URL(url).port;

/** The same server as its clients reach it at another port. @param ca what they trust there */
function seenAt(server: Server, port: number, ca: string): Server {
  const apiUrl = `https://${address}:${port}`;
  const api = new Api({ url: apiUrl, ca, token: server.adminToken });
  return { ...server, runtime: { ...server.runtime, apiUrl }, caPem: ca, api };
}

/** A server that takes nobody but balancers on this machine, and says the ports of the balancer in URLs. */
async function startBehind(t: TestContext, apiPort: number, agentPort: number): Promise<Server> {
  const dataDir = join(await tempDir(t, 'data'), 'data');
  const args = [
    ...['--data-dir', dataDir, '--api-listen', '127.0.0.1:0', '--agent-listen', '127.0.0.1:0'],
    ...['--proxy-protocol', '127.0.0.1', '--public-host', address],
    ...['--public-api-port', `${apiPort}`, '--public-agent-port', `${agentPort}`],
  ];
  const process = launch(t, 'server', args);
  const runtime = await waitFor(
    'a ready server',
    async () => JSON.parse(await readFile(join(dataDir, 'runtime.json'), 'utf8')) as Runtime,
    { timeoutMs: 30_000, context: () => process.transcript() },
  );
  const caPem = await readFile(join(dataDir, 'ca.pem'), 'utf8');
  const adminToken = (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim();
  return {
    process,
    dataDir,
    runtime,
    caPem,
    adminToken,
    api: new Api({ url: runtime.apiUrl, ca: caPem, token: adminToken }),
  };
}

async function addressesIn(server: Server, action: string): Promise<string[]> {
  const { body } = await server.api.get(`/api/v1/audit?action=${action}`);
  return body.items.map((row: { address: string }) => row.address);
}

/** What is printed by a container that is followed comes as it is printed; events do, too. */
async function followed(t: TestContext, server: Server, target: Target): Promise<void> {
  const { name } = await testContainer(t, { cmd: TALKS });
  const events = launchCommand(t, docker, ['events', '--filter', `container=${name}`], { env: target });
  const log = launchCommand(t, docker, ['logs', '-f', name], { env: target });
  const stream = await followEvents(t, server.api, '/api/v1/events?type=container');
  await log.waitForOutput(/^one\n$/);
  // Docker tells nothing from before its client has asked: until it has, what happens is repeated.
  await waitFor('an event at the docker CLI', async () => {
    await dockerApi('POST', `/containers/${name}/rename?name=${name}-x`);
    await dockerApi('POST', `/containers/${name}-x/rename?name=${name}`);
    return events.stdout.includes('container rename');
  });
  await stream.next('an event of the server', ({ data }) => data.type === 'container.rename');
  assert.equal(log.stdout, 'one\n');
  const touched = await runClient(t, target, [docker, 'exec', name, 'touch', '/go']);
  assert.equal(touched.code, 0, touched.stderr);
  await log.waitForOutput(/^one\ntwo\n$/);
}

/** A connection that the docker CLI takes over, and a WebSocket of our own CLI: what is typed is answered at once. */
async function typed(t: TestContext, server: Server, target: Target, host: string): Promise<void> {
  const { name } = await testContainer(t);
  const shell = launchCommand(t, docker, ['exec', '-i', name, 'sh'], { env: target });
  shell.stdin.write('echo $((6*7))\n');
  await shell.waitForOutput(/^42\n$/);
  shell.stdin.write('exit 3\n');
  assert.equal((await within(10_000, 'the end of docker exec', shell.exited)).code, 3, shell.transcript());

  const tokenFile = join(server.dataDir, 'admin-token');
  const caFile = join(await tempDir(t, 'ca'), 'ca.pem');
  await writeFile(caFile, server.caPem);
  const login = ['--server', server.runtime.apiUrl, '--api-token-file', tokenFile, '--api-ca', caFile];
  const cli = [process.execPath, entryOf('cli'), ...login, 'exec', '-it', host, name, '--', 'sh'];
  const command = cli.map((arg) => `'${arg}'`).join(' ');
  const terminal = launchCommand(t, 'script', ['-qefc', `stty cols 97 rows 31; exec ${command}`, '/dev/null'], {
    env: { SHELL: '/bin/sh', TERM: 'xterm', XDG_CONFIG_HOME: await tempDir(t, 'config') },
  });
  terminal.stdin.write('stty size\n');
  await terminal.waitForOutput(/31 97/);
  terminal.stdin.write('exit 5\n');
  assert.equal((await within(10_000, 'the end of exec -it', terminal.exited)).code, 5, terminal.transcript());
}

/** An image of some MB is uploaded, and a container of the host is listed. */
async function carried(t: TestContext, target: Target): Promise<void> {
  const { name } = await testContainer(t);
  const ps = await runClient(t, target, [docker, 'ps', '--filter', `name=${name}`, '--format', '{{.Names}}']);
  assert.deepEqual(ps, { code: 0, stdout: `${name}\n`, stderr: '' });
  defer(t, () => dockerApi('DELETE', `/images/${IMAGE}:1?force=1`));
  const load = await runClient(t, target, [docker, 'load', '-i', saved]);
  assert.equal(load.code, 0, load.stderr);
  assert.equal((await dockerApi('GET', `/images/${IMAGE}:1/json`)).status, 200);
  await dockerApi('DELETE', `/images/${IMAGE}:1?force=1`);
}

/** A client that has ended its input still gets all that comes. */
async function halfClosed(t: TestContext, target: Target): Promise<void> {
  const args = ['run', '--rm', '-i', '--network', 'none', '--label', TEST_LABEL, TEST_IMAGE];
  const count = await runClient(t, target, [docker, ...args, 'sh', '-c', 'wc -c; echo end'], {
    input: 'x'.repeat(300_000),
  });
  assert.deepEqual([count.code, count.stdout], [0, '300000\nend\n'], count.stderr);
}

async function everything(t: TestContext, server: Server, host: string): Promise<Target> {
  const target = await throughMesh(t, server, host);
  await Promise.all([followed(t, server, target), typed(t, server, target, host), carried(t, target)]);
  return target;
}

const BALANCERS: [string, (t: TestContext, values: Values) => Promise<unknown>][] = [
  ['nginx', (t, values) => startNginx(t, 'stream', values)],
  ['HAProxy', (t, values) => startHaproxy(t, { ...values, CERT_FILE: certificate.both })],
];

for (const [name, start] of BALANCERS) {
  test(`${name} at the level of TCP: agents and the API, with their own addresses`, async (t) => {
    const [agentPort = 0, apiPort = 0, httpsPort = 0] = await freePorts(3);
    const server = await startBehind(t, apiPort, agentPort);
    await start(t, {
      ...{ AGENT_LISTEN: `*:${agentPort}`, API_LISTEN: `*:${apiPort}`, HTTPS_LISTEN: `*:${httpsPort}` },
      AGENT_SERVER: `127.0.0.1:${portOf(server.runtime.agentUrl)}`,
      API_SERVER: `127.0.0.1:${portOf(server.runtime.apiUrl)}`,
      ...{ CERT_FILE: certificate.cert, KEY_FILE: certificate.key, CA_FILE: join(server.dataDir, 'ca.pem') },
    });
    const passed = seenAt(server, apiPort, server.caPem);
    const ended = seenAt(server, httpsPort, certificate.pem);
    const agent = await enroll(t, passed, 'shop');
    const running = startAgent(t, agent);
    await waitForState(ended, 'shop', 'online');
    assert.deepEqual(await addressesIn(passed, 'host.enroll'), [address]);

    const target = await everything(t, ended, 'shop');
    await halfClosed(t, target);
    await halfClosed(t, await throughMesh(t, passed, 'shop'));

    await running.stop();
    const left = await run(t, 'agent', ['unenroll', '--state-dir', agent.stateDir]);
    assert.equal(left.exit.code, 0, left.transcript());
    assert.deepEqual(await addressesIn(passed, 'host.leave'), [address]);
  });
}

const HTTP_PROXIES: [string, (t: TestContext, values: Values) => Promise<unknown>][] = [
  ['nginx', (t, values) => startNginx(t, 'http', values)],
  ['Caddy', (t, values) => startCaddy(t, values)],
];

for (const [name, start] of HTTP_PROXIES) {
  test(`${name} at the level of HTTP: the API, and each client by its own address`, async (t) => {
    const [port = 0] = await freePorts(1);
    // From where nginx is told to come, and from where Caddy comes.
    const args = [
      '--trust-proxy',
      '--trust-proxy-from',
      '127.0.0.1,127.0.0.2',
      '--public-host',
      `localhost,${address}`,
    ];
    const server = await startServer(t, { args });
    await addHost(t, server, 'shop');
    await start(t, {
      ...{ HTTPS_LISTEN: `*:${port}`, SERVER_NAME: `localhost ${address}`, PROXY_ADDRESS: '127.0.0.2' },
      ...{
        SITE: `https://localhost:${port}, https://${address}:${port}`,
        TLS: `tls ${certificate.cert} ${certificate.key}`,
      },
      API_SERVER: `127.0.0.1:${portOf(server.runtime.apiUrl)}`,
      ...{ CERT_FILE: certificate.cert, KEY_FILE: certificate.key, CA_FILE: join(server.dataDir, 'ca.pem') },
    });
    const ended = seenAt(server, port, certificate.pem);
    assert.equal((await ended.api.post('/api/v1/enrollment-tokens', {})).status, 201);
    assert.equal((await addressesIn(server, 'enrollment-token.create'))[0], address);
    await everything(t, ended, 'shop');
  });
}
