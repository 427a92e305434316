/** A real Docker Engine for tests: an image made on the spot, containers that are gone when their test ends. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { Agent, type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { type Cleanup, defer } from './tmp.ts';

/** The socket of the Engine that tests use. */
export const DOCKER_SOCKET = process.env['FAIRLEAD_TEST_DOCKER'] ?? '/var/run/docker.sock';
/** A busybox with all its applets, and a user `guest` (1000:1000). */
export const TEST_IMAGE = 'fairlead-test/busybox:latest';
/** On everything that tests make; its value is the version of the image. */
export const TEST_LABEL = 'fairlead.test';
const IMAGE_VERSION = '1';
/** Sleeps until it is told to end, and then ends at once, which a bare `sleep` as first process does not. */
export const IDLE = ['sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'];

const run = promisify(execFile);
const agent = new Agent({ keepAlive: false });

export interface ContainerOptions {
  /** IDLE unless given. */
  cmd?: string[];
  tty?: boolean;
  env?: string[];
  labels?: Record<string, string>;
  /** The rest of what Docker takes, in its own words. */
  config?: Record<string, unknown>;
  /** Created only. */
  start?: boolean;
}

export interface TestContainer {
  readonly id: string;
  readonly name: string;
}

/** Docker's answer to `api`. */
export interface DockerAnswer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every kind
  body: any;
}

/** One Engine, past everything that is under test. */
export interface TestDocker {
  readonly socket: string;
  /** One exchange with it. */
  api(method: string, path: string, body?: unknown): Promise<DockerAnswer>;
  /** As `api`, for bodies that are tars. */
  bytes(method: string, path: string, body?: Buffer | Readable): Promise<{ status: number; body: Buffer }>;
  /** Makes sure that it answers and has TEST_IMAGE. @throws Error that says what to do */
  require(): Promise<void>;
  /** Makes a container of its own for a test and starts it; removed after the test. */
  container(cleanup: Cleanup, options?: ContainerOptions): Promise<TestContainer>;
}

/** The Engine at a socket. */
export function dockerAt(socket: string): TestDocker {
  const send = (method: string, path: string, body: Buffer | Readable | undefined, type: string) =>
    exchange(socket, method, path, body, type);
  const docker: TestDocker = {
    socket,
    async api(method, path, body) {
      const json = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
      const response = await send(method, path, json, 'application/json');
      const answer = await text(response);
      const isJson = (response.headers['content-type'] ?? '').includes('json');
      return { status: response.statusCode ?? 0, body: isJson && answer !== '' ? JSON.parse(answer) : answer };
    },
    async bytes(method, path, body) {
      const response = await send(method, path, body, 'application/x-tar');
      return { status: response.statusCode ?? 0, body: await buffer(response) };
    },
    require: () => requireImage(docker),
    container: (cleanup, options = {}) => makeContainer(docker, cleanup, options),
  };
  return docker;
}

/** The Engine that tests share. */
export const sharedDocker = dockerAt(DOCKER_SOCKET);
/** These are those of the shared Engine. */
export const { api: dockerApi, bytes: dockerBytes, require: requireDocker, container: testContainer } = sharedDocker;

async function requireImage(docker: TestDocker): Promise<void> {
  try {
    await docker.api('GET', '/_ping');
  } catch (error) {
    throw new Error(
      `These tests need a Docker Engine, and none answers at ${docker.socket}. Start one (dockerd), or name its ` +
        'socket in FAIRLEAD_TEST_DOCKER.',
      { cause: error },
    );
  }
  const image = await docker.api('GET', `/images/${TEST_IMAGE}/json`);
  if (image.status !== 200 || image.body.Config?.Labels?.[TEST_LABEL] !== IMAGE_VERSION) await importImage(docker);
}

async function makeContainer(docker: TestDocker, cleanup: Cleanup, options: ContainerOptions): Promise<TestContainer> {
  await docker.require();
  const name = `fl-test-${randomBytes(6).toString('hex')}`;
  const created = await must(docker, 'POST', `/containers/create?name=${name}`, {
    Image: TEST_IMAGE,
    Cmd: options.cmd ?? IDLE,
    Tty: options.tty ?? false,
    Env: options.env ?? [],
    Labels: { ...options.labels, [TEST_LABEL]: IMAGE_VERSION },
    // Tests need no network, and an Engine in a bare environment may have none to give.
    HostConfig: { NetworkMode: 'none' },
    ...options.config,
  });
  defer(cleanup, () => docker.api('DELETE', `/containers/${created.Id}?force=1&v=1`));
  if (options.start !== false) await must(docker, 'POST', `/containers/${name}/start`);
  return { id: created.Id, name };
}

// biome-ignore lint/suspicious/noExplicitAny: as in DockerAnswer
async function must(docker: TestDocker, method: string, path: string, body?: unknown): Promise<any> {
  const answer = await docker.api(method, path, body);
  if (answer.status < 300) return answer.body;
  throw new Error(`${method} ${path}: Docker answered ${answer.status}: ${JSON.stringify(answer.body)}`);
}

function exchange(
  socketPath: string,
  method: string,
  path: string,
  body: Buffer | Readable | undefined,
  type: string,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': type };
    const outgoing = request({ socketPath, method, path, agent, headers }, resolve);
    outgoing.on('error', reject);
    if (body === undefined || Buffer.isBuffer(body)) outgoing.end(body);
    else body.pipe(outgoing);
  });
}

/** Imports the image. Two test files may do so at once: the later one wins, and the other's is cleared away. */
async function importImage(docker: TestDocker): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-image-'));
  try {
    const tar = await packRoot(dir);
    const [repo, tag] = TEST_IMAGE.split(':');
    const changes = new URLSearchParams([
      ['changes', `LABEL ${TEST_LABEL}=${IMAGE_VERSION}`],
      ['changes', 'ENV PATH=/bin'],
    ]);
    const path = `/images/create?fromSrc=-&repo=${repo}&tag=${tag}&${changes}`;
    const { status, body } = await docker.bytes('POST', path, createReadStream(tar));
    if (status !== 200 || body.includes('"error"')) throw new Error(`docker import failed: ${body}`);
    const filters = { dangling: ['true'], label: [TEST_LABEL] };
    await docker.api('POST', `/images/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Packs a root file system of nothing but busybox. @returns the path of the tar file */
async function packRoot(dir: string): Promise<string> {
  const busybox = await findBusybox();
  const root = join(dir, 'root');
  for (const folder of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev', 'root']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await copyFile(busybox, join(root, 'bin/busybox'));
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nguest:x:1000:1000::/tmp:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\nguest:x:1000:\n');
  const { stdout } = await run(busybox, ['--list']);
  for (const applet of stdout.split('\n').filter((name) => name !== '' && name !== 'busybox')) {
    await symlink('busybox', join(root, 'bin', applet));
  }
  const tar = join(dir, 'root.tar');
  await run('tar', ['-C', root, '--owner=0', '--group=0', '-cf', tar, '.']);
  return tar;
}

async function findBusybox(): Promise<string> {
  for (const path of ['/bin/busybox', '/usr/bin/busybox']) {
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  throw new Error('These tests need a static busybox to make an image of: apt-get install busybox-static');
}
