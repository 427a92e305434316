/** What each handler asks Docker, under the names of the catalogue: nothing that its kind's policy does not know of. */
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { before, describe, type TestContext, test } from 'node:test';
import { HANDLERS } from '../../../../agent/handlers/index.ts';
import { STACK_CHANGES } from '../../../../agent/handlers/stack-changes.ts';
import { ACTS } from '../../../../agent/policy/acts.ts';
import { Volumes } from '../../../../agent/volumes/volumes.ts';
import { apiCall, UNKNOWN_CALL } from '../../../../shared/docker/api-calls.ts';
import { UNARY_CALLS } from '../../../../shared/docker/unary-calls.ts';
import { containerAttach } from '../../../../shared/messages/container-streams.ts';
import type { HostPolicy } from '../../../../shared/messages/control.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';
import type { StreamKind } from '../../../../shared/messages/kind.ts';
import { volumeImport, volumeTransferReceive } from '../../../../shared/messages/volume-content.ts';
import { defer, tempDir } from '../../../support/tmp.ts';
import { tarOf } from '../../../support/volumes.ts';
import { waitFor } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { type Opened, type Served, serve } from './served.ts';

const ID = 'c'.repeat(64);
const COMPOSE = { 'com.docker.compose.project': 's', 'com.docker.compose.service': 'w' };
const CONTAINER = {
  ...{ Id: ID, Name: '/c', Names: ['/c'], Labels: COMPOSE },
  State: { Running: true, StartedAt: '2026-01-01T00:00:00Z' },
  ...{ Config: { Tty: true }, NetworkSettings: { Networks: { n: { IPAddress: '127.0.0.1' } } } },
};
const EXEC = { ID: 'e', Running: false, ExitCode: 0, Pid: 0, ContainerID: ID, ProcessConfig: { tty: true } };
const MAKE = { driver: 'local', options: {}, labels: {} };
let tar: Buffer;

before(async () => {
  tar = await tarOf([
    { name: 'volume/', type: 'directory', mode: 0o755 },
    { name: 'volume/a', mode: 0o644, content: Buffer.from('a') },
  ]);
});

/** An Engine with one of everything, as far as handlers look at it; of volumes it has all but `new`. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  const path = request.url?.split('?')[0] ?? '';
  const call = `${request.method} ${path}`;
  const say = (value: unknown) => response.end(JSON.stringify(value));
  request.resume();
  if (call === 'GET /events') response.flushHeaders();
  else if (call === 'GET /containers/json') say([{ ...CONTAINER, State: 'running' }]);
  else if (call === 'GET /images/json') say([]);
  else if (call === 'GET /volumes/new') response.writeHead(404).end('{"message":"no such volume"}');
  else if (call === 'POST /images/create') request.on('end', () => say({ status: `sha256:${'1'.repeat(64)}` }));
  else if (call === 'POST /images/load') request.on('end', () => say({ stream: 'Loaded image: a' }));
  else if (/^GET .*(?:archive|images.*get)$/.test(call))
    response.setHeader('x-docker-container-path-stat', 'e30').end(tar);
  else if (call.startsWith('PUT ')) request.on('end', () => response.end());
  else if (call.endsWith('/logs')) response.end('said\n');
  else if (call.startsWith('GET /exec/')) say(EXEC);
  else if (call.endsWith('/wait')) say({ StatusCode: 0 });
  else if (call.startsWith('GET /containers/')) say(CONTAINER);
  else if (call.startsWith('GET /volumes/')) say({ Name: 'v', Driver: 'local', Options: null, Labels: null });
  else say({ Id: 'e', DockerRootDir: '/' });
}

/** The names of what Docker is asked from now on. */
interface Recorded {
  readonly served: Served;
  readonly names: Set<string>;
}

async function recorded(t: TestContext, policy?: HostPolicy): Promise<Recorded> {
  const names = new Set<string>();
  const note = (request: IncomingMessage) => {
    if (request.url?.startsWith('/version')) return;
    const name = apiCall(request.method ?? '', request.url ?? '')?.name ?? UNKNOWN_CALL;
    names.add(name === UNKNOWN_CALL ? `${request.method} ${request.url}` : name);
  };
  const fake = await fakeDocker(
    t,
    (request, response) => {
      note(request);
      answer(request, response);
    },
    (connection, request) => {
      note(request);
      connection.end();
    },
  );
  const docker = await engineAt(t, fake.socket, undefined, policy);
  const directory = join(await tempDir(t, 'volumes'), 'volumes');
  const volumes = new Volumes({ docker, owner: randomUUID(), directory, log: SILENT });
  defer(t, () => volumes.close());
  // What the agent does by itself, once, is over then.
  await volumes.prepare(randomUUID(), { volume: 'new', replace: false, force: false });
  const context = { docker, volumes, permitsTarget: () => true, info: { agentVersion: '1' }, log: SILENT };
  return { served: await serve(t, context), names };
}

/** What opens a kind so that it makes all its calls; `use` does what its opener does. */
interface Scene {
  readonly params: Readonly<Record<string, unknown>> | (() => Readonly<Record<string, unknown>>);
  readonly use?: (opened: Opened<StreamKind>, given: Recorded) => Promise<void>;
  /** What has to have been done before, by other kinds. */
  readonly first?: (given: Recorded) => Promise<void>;
  /** What it prepares, undoes with, or does by a call of its own name. */
  readonly unasked?: readonly string[];
}

const size = { cols: 80, rows: 24 };
const transfer = { id: randomUUID(), volume: 'v', replace: true, force: true };
const sum = () => ({ bytes: tar.byteLength, sha256: createHash('sha256').update(tar).digest('hex') });
const send = async ({
  stream,
  done,
}: Pick<Opened<StreamKind>, 'done'> & { readonly stream: { readonly bytes: Duplex } }) => {
  stream.bytes.end(tar);
  stream.bytes.resume();
  await done;
};
const asks =
  (name: string) =>
  async (opened: Opened<StreamKind>, { names }: Recorded) => {
    await waitFor(name, () => names.has(name), { timeoutMs: 3_000 });
    opened.leave();
    await opened.done.catch(() => undefined);
  };

const SCENES: Readonly<Record<string, Scene>> = {
  'host.info': { params: {} },
  'host.throughput': { params: { sendBytes: 0, ms: 10 }, use: send },
  'host.events': { params: {}, use: asks('host.events') },
  'host.metrics': { params: {} },
  'host.stats': { params: {} },
  'container.stats': { params: { id: ID, stream: false } },
  'container.log.stream': { params: { id: ID } },
  'container.exec.open': { params: { id: ID, cmd: ['sh'], tty: true, size } },
  'container.exec.run': { params: { id: ID, cmd: ['sh'], timeoutMs: 5_000, maxOutputBytes: 10 } },
  'container.attach': { params: { id: ID, size, logs: true }, unasked: ['container.log.stream'] },
  'container.archive.get': { params: { id: ID, path: '/a' } },
  'container.archive.put': { params: { id: ID, path: '/' }, use: send },
  'image.pull': { params: { reference: 'a' } },
  'image.save': { params: { references: ['a'] } },
  'image.load': { params: {}, use: send },
  'volume.browse': { params: { volume: 'v' } },
  'volume.export': { params: { volume: 'v' } },
  'volume.import': { params: { volume: 'new' }, use: send, unasked: ['volume.remove'] },
  'volume.transfer.send': { params: { volume: 'v', offset: 0 } },
  'volume.transfer.prepare': {
    params: transfer,
    unasked: ['volume.create', 'volume.remove', 'container.archive.put'],
  },
  'volume.transfer.receive': { params: { id: randomUUID(), offset: 0 }, use: send },
  'volume.transfer.apply': {
    params: () => ({ ...transfer, ...sum(), make: MAKE }),
    first: async ({ served }) => await send(served.open(volumeTransferReceive, { id: transfer.id, offset: 0 })),
  },
  'volume.transfer.discard': { params: { id: randomUUID() } },
  // Nobody listens there.
  'tcp.open': { params: { container: 'c', port: 1 }, use: ({ done }) => done.catch(() => undefined) },
  'stack.list': { params: {} },
  'stack.status': { params: { stack: 's' } },
  'stack.logs': { params: { stack: 's', follow: true }, use: asks('container.log.stream') },
};

/** Judged call by call, under the same names: see proxied-calls.test.ts. */
const JUDGED_AS_MADE = new Set(['docker.request', 'docker.upgrade', ...STACK_CHANGES.map(([{ name }]) => name)]);

async function play(kind: StreamKind, { params, first, use }: Scene, given: Recorded): Promise<void> {
  await first?.(given);
  given.names.clear();
  // Whoever goes by a kind's name does not have its parameters' type.
  const opened = given.served.open(kind, (typeof params === 'function' ? params() : params) as never);
  const { stream, done } = opened;
  for (const end of [stream.reply, stream.trailer]) end.catch(() => undefined);
  if (use !== undefined) return await use(opened, given);
  if (kind.bytes === 'opener' || kind.bytes === 'both') stream.bytes.end();
  if (kind.bytes !== 'none') stream.bytes.resume();
  if (kind.item !== undefined) for await (const _item of stream.items());
  await done;
}

describe('what a kind asks Docker goes by its own name, or its policy knows of it', () => {
  for (const [name, scene] of Object.entries(SCENES)) {
    test(name, { timeout: 5_000 }, async (t) => {
      const kind = STREAM_KINDS.find((one) => one.name === name);
      assert.ok(kind);
      const given = await recorded(t);
      await play(kind, scene, given);
      const { as = [], sometimes = [], apart = {} } = ACTS.get(name) ?? {};
      const known = [...as, ...sometimes, ...Object.keys(apart)];
      const asked = [...given.names].filter((each) => each !== name);
      assert.deepEqual(
        asked.filter((each) => !known.includes(each)),
        [],
        'it does what no denial by that name stops',
      );
      const idle = known.filter((each) => !given.names.has(each) && !scene.unasked?.includes(each));
      assert.deepEqual(idle, [], 'it does not do what it is denied with');
    });
  }

  test('a kind of one call makes it under its own name', () => {
    const params = { id: 'x', config: {}, name: 'y', repo: 'z', container: 'c' };
    for (const { kind, callOf } of UNARY_CALLS) {
      const { method, path } = callOf(params);
      assert.equal(apiCall(method, path)?.name, kind.name);
    }
  });

  test('no kind is left out', () => {
    const known = new Set([...UNARY_CALLS.map(({ kind }) => kind.name), ...JUDGED_AS_MADE, ...Object.keys(SCENES)]);
    const served = STREAM_KINDS.filter(({ code }) => HANDLERS.has(code)).map(({ name }) => name);
    assert.deepEqual(
      served.filter((name) => !known.has(name)),
      [],
    );
  });
});

describe('what a kind does for some parameters only is denied for those', () => {
  const denied = { code: 'DENIED_BY_HOST' };

  test('attach gives no log that is denied, unless it is allowed by its own name', async (t) => {
    const deny = ['container.log.stream'];
    const given = await recorded(t, { allow: [], deny });
    given.names.clear();
    await assert.rejects(given.served.call(containerAttach, { id: ID, logs: true }), denied);
    assert.deepEqual([...given.names], [], 'Docker hears nothing of it');
    assert.deepEqual(await given.served.call(containerAttach, { id: ID }), { tty: true });
    const named = await recorded(t, { allow: ['container.attach', 'full'], deny });
    assert.deepEqual(await named.served.call(containerAttach, { id: ID, logs: true }), { tty: true });
  });

  test('import makes no volume where that, or to remove it again, is denied; it fills one that is there', async (t) => {
    for (const entry of ['volume.create', 'volume.remove']) {
      const given = await recorded(t, { allow: [], deny: [entry] });
      const into = (volume: string) => {
        const opened = given.served.open(volumeImport, { volume });
        opened.stream.reply.catch(() => undefined);
        return send(opened);
      };
      await assert.rejects(into('new'), denied, entry);
      assert.ok(!given.names.has('volume.create'));
      await into('v');
    }
  });
});
