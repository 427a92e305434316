/** A stack that moves between two real Engines, of which one has neither its image nor its volume; and back where that fails. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { projectFilter, removeProject } from '../support/compose-projects.ts';
import { sharedDocker, TEST_LABEL, type TestDocker } from '../support/docker.ts';
import { TestEngine } from '../support/engine.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { contentOf, fillVolume } from '../support/volumes.ts';
import { waitFor, within } from '../support/wait.ts';

const MIB = 1024 * 1024;
const shared = fileCleanup();
let server: Server;
let engine: TestEngine;

before(async () => {
  [server, engine] = await Promise.all([startServer(shared), TestEngine.start(shared), sharedDocker.require()]);
  await Promise.all([addHost(shared, server, 'here'), addHost(shared, server, 'there', ['--docker', engine.socket])]);
});

function stack(...args: string[]): Promise<CliRun> {
  const connection = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  return runCliHere([...connection, 'stack', ...args]);
}

/** An image that the shared Engine alone has. @returns its name and its id */
async function newImage(t: TestContext): Promise<{ image: string; id: string }> {
  const image = `fl-test-${randomBytes(6).toString('hex')}`;
  const { id } = await sharedDocker.container(t, { start: false });
  const change = encodeURIComponent(`LABEL made=${image}`);
  const made = await sharedDocker.api('POST', `/commit?container=${id}&repo=${image}&tag=1&changes=${change}`, {});
  assert.equal(made.status, 201, JSON.stringify(made.body));
  for (const docker of [sharedDocker, engine.docker]) {
    defer(t, () => docker.api('DELETE', `/images/${image}:1?force=1`));
  }
  return { image: `${image}:1`, id: made.body.Id };
}

interface Deployed {
  readonly name: string;
  readonly imageId: string;
  /** What is in its volume. */
  readonly content: string[];
}

/** A stack of one service at `here`, which has something in its volume. */
async function deployed(t: TestContext, bytes: number, more = ''): Promise<Deployed> {
  const name = `fl-test-${randomBytes(4).toString('hex')}`;
  const { image, id: imageId } = await newImage(t);
  // Before the image, which would stay without its name while a container has it.
  for (const docker of [sharedDocker, engine.docker]) defer(t, () => removeAll(docker, name));
  const file = join(await tempDir(t, 'stack'), 'compose.yaml');
  await writeFile(
    file,
    `services:
  web:
    image: ${image}
    pull_policy: never
    command: ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]
    network_mode: none
    labels: {${TEST_LABEL}: "1"}
    volumes: [data:/data]
${more}volumes: {data: {}}
`,
  );
  const run = await stack('deploy', 'here', name, '-f', file);
  assert.equal(run.exit.code, 0, run.transcript());
  await fillVolume(t, `${name}_data`, [
    { name: 'note', mode: 0o4600, uid: 7, content: Buffer.from('kept') },
    { name: 'noise', content: randomBytes(bytes) },
  ]);
  return { name, imageId, content: await contentOf(t, `${name}_data`) };
}

async function containersOf(
  docker: TestDocker,
  name: string,
): Promise<{ Id: string; ImageID: string; State: string }[]> {
  return (await docker.api('GET', `/containers/json?all=1&filters=${projectFilter(name)}`)).body;
}

async function removeAll(docker: TestDocker, name: string): Promise<void> {
  await removeProject(docker, name);
  // A move that failed may have left it without labels.
  await docker.api('DELETE', `/volumes/${name}_data?force=1`);
}

async function hasVolume(docker: TestDocker, name: string): Promise<boolean> {
  return (await docker.api('GET', `/volumes/${name}_data`)).status === 200;
}

async function assertMoved(t: TestContext, { name, imageId, content }: Deployed): Promise<void> {
  const [container, ...others] = await containersOf(engine.docker, name);
  assert.deepEqual([container?.ImageID, container?.State, others.length], [imageId, 'running', 0]);
  assert.deepEqual(await contentOf(t, `${name}_data`, engine.docker), content);
  assert.deepEqual(await containersOf(sharedDocker, name), []);
  assert.equal(await hasVolume(sharedDocker, name), false);
}

async function assertAsBefore(t: TestContext, { name, imageId, content }: Deployed): Promise<void> {
  const [container] = await containersOf(sharedDocker, name);
  assert.deepEqual([container?.ImageID, container?.State], [imageId, 'running']);
  assert.deepEqual(await contentOf(t, `${name}_data`), content);
  assert.deepEqual(await containersOf(engine.docker, name), []);
  assert.equal(await hasVolume(engine.docker, name), false);
}

test('a stack takes its image and its volume along to an Engine that has neither', async (t) => {
  const it = await deployed(t, 2 * MIB);
  const run = await stack('migrate', 'here', it.name, 'there');
  assert.equal(run.exit.code, 0, run.transcript());
  assert.match(run.stderr, /^images: copies fl-test-/m);
  await assertMoved(t, it);
});

test('a target that cannot run it has nothing of it afterwards, and the source all', async (t) => {
  const taken = `fl-test-${randomBytes(6).toString('hex')}`;
  const it = await deployed(t, MIB, `    container_name: ${taken}\n`);
  const running = stack('migrate', 'here', it.name, 'there');
  // Somebody takes the name when all has been looked at: deploying finds out.
  const hasImage = async () => (await engine.docker.api('GET', `/images/${it.imageId}/json`)).status === 200;
  await waitFor('the image at the target', hasImage, { everyMs: 5 });
  const other = await engine.docker.container(t, { start: false });
  await engine.docker.api('POST', `/containers/${other.id}/rename?name=${taken}`);
  const run = await running;
  assert.equal(run.exit.code, 1, run.transcript());
  assert.match(run.stderr, /deploy failed: .*it was rolled back: the stack is at the source as before/);
  await assertAsBefore(t, it);
  await engine.docker.api('DELETE', `/containers/${other.id}`);
});

test('a Docker that is killed at the target while the volume is carried, and comes back, holds nothing up', async (t) => {
  const it = await deployed(t, 24 * MIB);
  const running = stack('migrate', 'here', it.name, 'there');
  const carried = async () =>
    (await server.api.get('/api/v1/volume-transfers')).body.items.some(
      ({ state, bytes }: { state: string; bytes: number }) => state === 'running' && bytes > 0,
    );
  await waitFor('some bytes', carried, { everyMs: 5 });
  await engine.kill();
  await engine.up();
  const run = await within(60_000, 'the migration', running);
  if (run.exit.code === 0) await assertMoved(t, it);
  else await assertAsBefore(t, it);
});
