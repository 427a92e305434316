/** Every sort of long operation on a host while agent, server, Docker or the way between them is lost: told, and nothing stays. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { before, type TestContext, test } from 'node:test';
import { HELPER_LABEL } from '../../agent/docker/volume-helper.ts';
import { TestEngine } from '../support/engine.ts';
import type { Launched } from '../support/launcher.ts';
import type { Link } from '../support/link-emulator.ts';
import { linkAgent } from '../support/linked-agent.ts';
import {
  type Enrolled,
  enroll,
  restartServer,
  type Server,
  startAgent,
  startServer,
  waitForState,
} from '../support/mesh.ts';
import { beginAll, type Ended, inStack, OUTBOX, runs, type Site, TALKER } from '../support/operations.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { defer, fileCleanup } from '../support/tmp.ts';
import { testVolume } from '../support/volumes.ts';
import { waitFor, within } from '../support/wait.ts';

/** How long whoever waits may be left in the dark. */
const TOLD_MS = 15_000;
const FREED_MS = 15_000;
const LARGE_MB = 48;
const IMAGE = 'fl-test-large:1';

const shared = fileCleanup();
let engine: TestEngine;
let registry: TestRegistry;
let volume: string;
let server: Server;
let link: Link;
let host: Enrolled;
let agent: Launched;

before(async () => {
  [engine, server] = await Promise.all([TestEngine.start(shared), startServer(shared)]);
  registry = await startRegistry(shared, { engine });
  registry.holdLayer();
  host = await enroll(shared, server, 'shed');
  link = await linkAgent(shared, server, host, { rate: 1e9, delayMs: 0 });
  agent = startAgent(shared, host, ['--docker', engine.socket]);
  await Promise.all([makeImage(), waitForState(server, 'shed', 'online')]);
});

/** An image, and a volume, of noise. */
async function makeImage(): Promise<void> {
  const { docker } = engine;
  volume = await testVolume(shared, [{ name: 'noise', content: randomBytes(LARGE_MB * 1024 * 1024) }], docker);
  const cmd = ['dd', 'if=/dev/urandom', 'of=/noise', 'bs=1M', `count=${LARGE_MB}`];
  const { id } = await docker.container(shared, { cmd });
  await docker.api('POST', `/containers/${id}/wait`);
  const [repo, tag] = IMAGE.split(':');
  const made = await docker.api('POST', `/commit?container=${id}&repo=${repo}&tag=${tag}`, {});
  assert.equal(made.status, 201, JSON.stringify(made.body));
}

async function newSite(t: TestContext): Promise<Site> {
  const { docker } = engine;
  const [talker, quiet, inbox, outbox] = await Promise.all([
    docker.container(t, TALKER),
    docker.container(t),
    docker.container(t),
    docker.container(t, OUTBOX),
  ]);
  const stack = `fl-test-${randomBytes(4).toString('hex')}`;
  return {
    ...{ api: server.api, host: 'shed', engine, registry, talker, quiet, inbox, outbox },
    image: IMAGE,
    volume,
    stack,
  };
}

const FAULTS: [name: string, fault: () => Promise<unknown>, mend: () => Promise<unknown>][] = [
  ['Docker is killed', () => engine.kill(), () => engine.up()],
  ['Docker is stopped', () => engine.stop(), () => engine.up()],
  ['the way is cut', () => link.cut(), async () => undefined],
  [
    'the agent is killed',
    () => agent.kill(),
    async () => {
      agent = startAgent(shared, host, ['--docker', engine.socket]);
    },
  ],
  [
    'the server is killed',
    () => server.process.kill(),
    async () => {
      server = await restartServer(shared, server, 'kill');
    },
  ],
];

/** What an operation may be told of that was lost on the way. */
const CODES = new Set(['STREAM_INTERRUPTED', 'DOCKER_UNREACHABLE', 'HOST_OFFLINE']);
/** What has no place for a code: it is broken off. */
const BYTES = new Set(['a log', 'files out', 'an image out', 'a volume out']);

function assertTold({ name, isWhole, code }: Ended & { name: string }, hasServer: boolean): void {
  assert.ok(!isWhole, `${name} looks as if it had been done`);
  if (hasServer && !BYTES.has(name)) assert.ok(CODES.has(code ?? ''), `${name} ended with ${code}`);
}

for (const [name, fault, mend] of FAULTS) {
  test(`when ${name} everyone is told, nothing stays behind, and all works again`, async (t) => {
    const site = await newSite(t);
    defer(t, () => registry.dropHeld());
    const begun = await beginAll(t, site);
    await fault();
    const hasServer = server.process.exit === undefined;
    const ends = begun.map(async ({ name, end }) => ({
      name,
      ...(await within(TOLD_MS, `the end of ${name}`, end())),
    }));
    // Mended before it is judged: what cleans up needs all of them.
    await Promise.allSettled(ends);
    await mend();
    for (const end of await Promise.all(ends)) assertTold(end, hasServer);
    await waitForState(server, 'shed', 'online');
    await nothingStays({ ...site, api: server.api });
  });
}

async function nothingStays(site: Site): Promise<void> {
  const { docker } = engine;
  const eventually = (what: string, condition: () => Promise<boolean>) =>
    waitFor(what, condition, { timeoutMs: FREED_MS });
  for (const each of [site.talker, site.quiet])
    await eventually('no process of an exec', async () => !(await runs(site, each)));
  const filters = encodeURIComponent(JSON.stringify({ label: [HELPER_LABEL] }));
  await eventually(
    'no helper',
    async () => (await docker.api('GET', `/containers/json?all=1&filters=${filters}`)).body.length === 0,
  );
  const path = `/api/v1/hosts/shed`;
  // One asks for events, for as long as the session lasts.
  await eventually('no stream', async () => (await site.api.get(path)).body.link.openStreams <= 1);
  await stackEnds(site, path);
  const ran = await site.api.post(`${path}/containers/${site.inbox.id}/exec`, { cmd: ['echo', 'well'] });
  assert.equal(ran.body?.stdout, 'well\n', ran.text);
  assert.deepEqual(
    (await readdir(engine.path('data/tmp'))).filter((name) => name.startsWith('docker-import-')),
    [],
  );
}

/** A change that has begun goes on when only its session is lost: it is let come to its end. */
async function stackEnds(site: Site, path: string): Promise<void> {
  const { docker } = engine;
  for (const { Id } of await inStack(site)) {
    const exec = await docker.api('POST', `/containers/${Id}/exec`, { Cmd: ['touch', '/tmp/go'] });
    await docker.api('POST', `/exec/${exec.body.Id}/start`, { Detach: true });
  }
  const stack = `${path}/stacks/${site.stack}`;
  await waitFor('the end of the change', async () => {
    const { latest, change } = (await site.api.get(stack)).body;
    return latest?.state !== 'deploying' && change?.state !== 'running';
  });
  const removed = await within(FREED_MS, 'its removal', site.api.delete(stack));
  assert.ok(removed.status < 300 && !removed.text.includes('"error"'), `${removed.status} ${removed.text}`);
}
