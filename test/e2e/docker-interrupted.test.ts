/** What Docker clients are told when agent, server or Engine break off under them: that it failed, and soon. */
import assert from 'node:assert/strict';
import { before, type TestContext, test } from 'node:test';
import { testContainer } from '../support/docker.ts';
import { programs, runClient, type Target, throughMesh } from '../support/docker-client.ts';
import { DockerProxy } from '../support/docker-proxy.ts';
import { type Launched, launchCommand } from '../support/launcher.ts';
import { addHost, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { waitFor, within } from '../support/wait.ts';

const TOLD_MS = 20_000;
/** A tar that has begun: the head of a file, and some of its bytes. */
const BEGUN_TAR = Buffer.alloc(64 * 1024);
BEGUN_TAR.write('file');
BEGUN_TAR.write('0000644\x000000000\x000000000\x0077777777777\x0000000000000', 100, 'latin1');

let cli: string;

before(async () => {
  [cli = ''] = await programs('docker');
});

interface Mesh {
  readonly server: Server;
  readonly agent: Launched;
  readonly proxy: DockerProxy;
  readonly target: Target;
  readonly restartAgent: () => Promise<void>;
}

async function startMesh(t: TestContext): Promise<Mesh> {
  const proxy = await DockerProxy.start(t);
  const server = await startServer(t);
  const host = await addHost(t, server, 'shop', ['--docker', proxy.path]);
  const target = await throughMesh(t, server, 'shop');
  const restartAgent = async () => {
    startAgent(t, host, ['--docker', proxy.path]);
    await waitForState(server, 'shop', 'online');
  };
  return { server, agent: host.process, proxy, target, restartAgent };
}

/** What goes on when the fault comes, and the request for it. */
const OPERATIONS: [args: (container: string) => string[], request: RegExp, input?: Buffer][] = [
  [(c) => ['logs', '-f', c], /logs\?/],
  [(c) => ['exec', c, 'sleep', '12345'], /exec\/.*start/],
  [(c) => ['attach', '--no-stdin', c], /attach\?/],
  [() => ['events'], /events/],
  [(c) => ['wait', c], /wait/],
  [(c) => ['cp', `${c}:/tmp/endless`, '-'], /^GET .*archive/],
  [(c) => ['cp', '-', `${c}:/tmp`], /^PUT .*archive/, BEGUN_TAR],
  [() => ['load'], /images\/load/, BEGUN_TAR],
];

/** Starts all operations, and returns their clients once Docker has been asked for each. */
async function beginAll(t: TestContext, { proxy, target }: Mesh): Promise<Launched[]> {
  const cmd = ['sh', '-c', 'truncate -s 8G /tmp/endless; while sleep 0.1; do echo tick; done'];
  const { name } = await testContainer(t, { cmd });
  // Docker locks a container for as long as an archive is read from it.
  const { name: other } = await testContainer(t);
  const clients: Launched[] = [];
  for (const [args, request, input] of OPERATIONS) {
    const client = launchCommand(t, cli, args(input === undefined ? name : other), { env: target });
    if (input === undefined) client.stdin.end();
    else client.stdin.write(input);
    await waitFor(`${request} at Docker`, () => proxy.asked('').some((line) => request.test(line)), {
      context: () => client.transcript(),
    });
    clients.push(client);
  }
  return clients;
}

async function assertAllFail(clients: readonly Launched[]): Promise<void> {
  for (const client of clients) {
    // One that reads its own input sees what happened when it writes the next piece.
    client.stdin.end();
    const { code } = await within(TOLD_MS, 'the end of a client', client.exited, () => client.transcript());
    assert.ok(code !== 0 && code !== null, client.transcript().slice(-2_000));
  }
}

const FAULTS: [name: string, fault: (mesh: Mesh) => Promise<unknown>, mend: (mesh: Mesh) => Promise<unknown>][] = [
  ['the agent is killed', ({ agent }) => agent.kill(), ({ restartAgent }) => restartAgent()],
  ['the Engine is stopped', async ({ proxy }) => proxy.stop(), ({ proxy }) => proxy.listen()],
  ['the server is stopped', ({ server }) => server.process.stop(), async () => undefined],
  ['the server is killed', ({ server }) => server.process.kill(), async () => undefined],
];

for (const [name, fault, mend] of FAULTS) {
  test(`every client fails when ${name}, and the next one works once all is back`, async (t) => {
    const mesh = await startMesh(t);
    const clients = await beginAll(t, mesh);
    await fault(mesh);
    await assertAllFail(clients);
    await mend(mesh);
    if (mesh.server.process.exit !== undefined) return;
    await waitFor('docker ps', async () => (await runClient(t, mesh.target, [cli, 'ps'])).code === 0);
    await waitFor('the end at Docker', () =>
      ['/logs?', 'archive', '/load'].every((each) => mesh.proxy.open(each) === 0),
    );
  });
}
