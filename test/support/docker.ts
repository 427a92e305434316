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

/** Docker's answer to `dockerApi`. */
export interface DockerAnswer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every kind
  body: any;
}

/** Makes sure that an Engine answers and has TEST_IMAGE. @throws Error that says what to do */
export async function requireDocker(): Promise<void> {
  try {
    await dockerApi('GET', '/_ping');
  } catch (error) {
    throw new Error(
      `These tests need a Docker Engine, and none answers at ${DOCKER_SOCKET}. Start one (dockerd), or name its ` +
        'socket in FAIRLEAD_TEST_DOCKER.',
      { cause: error },
    );
  }
  const image = await dockerApi('GET', `/images/${TEST_IMAGE}/json`);
  if (image.status !== 200 || image.body.Config?.Labels?.[TEST_LABEL] !== IMAGE_VERSION) await importImage();
}

/** Makes a container of its own for a test and starts it; removed after the test. */
export async function testContainer(cleanup: Cleanup, options: ContainerOptions = {}): Promise<TestContainer> {
  await requireDocker();
  const name = `fl-test-${randomBytes(6).toString('hex')}`;
  const created = await must('POST', `/containers/create?name=${name}`, {
    Image: TEST_IMAGE,
    Cmd: options.cmd ?? IDLE,
    Tty: options.tty ?? false,
    Env: options.env ?? [],
    Labels: { ...options.labels, [TEST_LABEL]: IMAGE_VERSION },
    // Tests need no network, and an Engine in a bare environment may have none to give.
    HostConfig: { NetworkMode: 'none' },
    ...options.config,
  });
  defer(cleanup, () => dockerApi('DELETE', `/containers/${name}?force=1&v=1`));
  if (options.start !== false) await must('POST', `/containers/${name}/start`);
  return { id: created.Id, name };
}

/** One exchange with the Engine, past everything that is under test. */
export async function dockerApi(method: string, path: string, body?: unknown): Promise<DockerAnswer> {
  const json = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const response = await send(method, path, json, 'application/json');
  const answer = await text(response);
  const isJson = (response.headers['content-type'] ?? '').includes('json');
  return { status: response.statusCode ?? 0, body: isJson && answer !== '' ? JSON.parse(answer) : answer };
}

/** As `dockerApi`, for bodies that are tars. */
export async function dockerBytes(
  method: string,
  path: string,
  body?: Buffer,
): Promise<{ status: number; body: Buffer }> {
  const response = await send(method, path, body, 'application/x-tar');
  return { status: response.statusCode ?? 0, body: await buffer(response) };
}

// biome-ignore lint/suspicious/noExplicitAny: as in DockerAnswer
async function must(method: string, path: string, body?: unknown): Promise<any> {
  const answer = await dockerApi(method, path, body);
  if (answer.status < 300) return answer.body;
  throw new Error(`${method} ${path}: Docker answered ${answer.status}: ${JSON.stringify(answer.body)}`);
}

function send(
  method: string,
  path: string,
  body: Buffer | Readable | undefined,
  type: string,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': type };
    const outgoing = request({ socketPath: DOCKER_SOCKET, method, path, agent, headers }, resolve);
    outgoing.on('error', reject);
    if (body === undefined || Buffer.isBuffer(body)) outgoing.end(body);
    else body.pipe(outgoing);
  });
}

/** Imports the image. Two test files may do so at once: the later one wins, and the other's is cleared away. */
async function importImage(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-image-'));
  try {
    const tar = await packRoot(dir);
    const [repo, tag] = TEST_IMAGE.split(':');
    const changes = new URLSearchParams([
      ['changes', `LABEL ${TEST_LABEL}=${IMAGE_VERSION}`],
      ['changes', 'ENV PATH=/bin'],
    ]);
    const path = `/images/create?fromSrc=-&repo=${repo}&tag=${tag}&${changes}`;
    const response = await send('POST', path, createReadStream(tar), 'application/x-tar');
    const answer = await text(response);
    if (response.statusCode !== 200 || answer.includes('"error"')) throw new Error(`docker import failed: ${answer}`);
    const filters = { dangling: ['true'], label: [TEST_LABEL] };
    await dockerApi('POST', `/images/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`);
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
