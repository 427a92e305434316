/** Clients of Docker that are killed: nothing of what they had begun goes on on the host. */
import assert from 'node:assert/strict';
import { before, type TestContext, test } from 'node:test';
import { dockerApi, type TestContainer, testContainer } from '../support/docker.ts';
import { programs, type Target, throughMesh } from '../support/docker-client.ts';
import { DockerProxy } from '../support/docker-proxy.ts';
import { launchCommand } from '../support/launcher.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

/** How soon what a client has begun must have ended. */
const FREED_MS = 10_000;

const shared = fileCleanup();
const proxy = await DockerProxy.start(shared);
let server: Server;
let cli: string;

before(async () => {
  [cli = ''] = await programs('docker');
  server = await startServer(shared);
  await addHost(shared, server, 'shop', ['--docker', proxy.path]);
});

/** Arguments of docker, and what the request for it has in its first line. */
const OPERATIONS: [name: string, args: (container: string) => string[], request: string][] = [
  ['a log that is followed', (c) => ['logs', '-f', c], '/logs?'],
  // With the version that the client names; the agent itself asks for events without one.
  ['events', () => ['events'], '/v1.41/events'],
  ['statistics', (c) => ['stats', c], '/stats?'],
  ['an attached client', (c) => ['attach', c], '/attach?'],
  ['a wait', (c) => ['wait', c], '/wait'],
];

async function begun(t: TestContext, target: Target, args: string[], request: string) {
  const client = launchCommand(t, cli, args, { env: target });
  await waitFor(`${request} at Docker`, () => proxy.open(request) > 0, { context: () => client.transcript() });
  return client;
}

for (const [name, args, request] of OPERATIONS) {
  test(`${name} ends on the host when its client is killed`, async (t) => {
    // What it says lets the socket in between notice an end that is not one of a single direction.
    const { name: container } = await testContainer(t, { cmd: ['sh', '-c', 'while sleep 0.1; do echo tick; done'] });
    const client = await begun(t, await throughMesh(t, server, 'shop'), args(container), request);
    await client.kill();
    await waitFor('the end at Docker', () => proxy.open(request) === 0, { timeoutMs: FREED_MS });
    assert.equal((await dockerApi('GET', `/containers/${container}/json`)).body.State.Running, true);
  });
}

/** What runs in a container, as `ps` says it. */
async function running({ id }: TestContainer): Promise<string> {
  const { body } = await dockerApi('GET', `/containers/${id}/top`);
  return JSON.stringify(body.Processes);
}

const EXECS: [name: string, command: (docker: string, container: string) => string[]][] = [
  ['without input', (docker, c) => [docker, 'exec', c, 'sleep', '12345']],
  ['with input', (docker, c) => [docker, 'exec', '-i', c, 'sleep', '12345']],
  ['with a terminal', (docker, c) => ['script', '-qfec', `${docker} exec -it ${c} sleep 12345`, '/dev/null']],
];

for (const [name, command] of EXECS) {
  test(`the process of an exec ${name} ends when its client is killed`, async (t) => {
    const container = await testContainer(t);
    const target = await throughMesh(t, server, 'shop');
    const [program = '', ...args] = command(cli, container.name);
    const client = launchCommand(t, program, args, { env: target });
    await waitFor('the process', async () => (await running(container)).includes('sleep 12345'), {
      context: () => client.transcript(),
    });
    await client.kill();
    await waitFor('the end of it', async () => !(await running(container)).includes('sleep 12345'), {
      timeoutMs: FREED_MS,
    });
    await waitFor('the end at Docker', () => proxy.open('/exec/') === 0);
  });
}
