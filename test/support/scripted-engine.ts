/**
 * A Docker Engine that answers by a script, the same to whoever asks: lists and objects, changes, logs, statistics, tars, execs and
 * events, with refusals, silence and breaks where a test wants them.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { fakeDocker } from '../unit/agent/docker/fake-docker.ts';
import { dockerFrame } from './docker-frames.ts';
import type { Cleanup } from './tmp.ts';

export const WEB = 'a'.repeat(64);
export const ENGINE_ID = 'AAAA:BBBB:CCCC';
const EXEC_ID = 'e'.repeat(64);
const STAT = Buffer.from('{"name":"file"}').toString('base64');
/** What a log of the container says, in Docker's frames. */
export const LOG = [dockerFrame(1, 'out 1\n'), dockerFrame(2, 'err – ü\n'), dockerFrame(1, 'out 2\n')];
/** The exit code of commands, and of terminals. */
export const EXIT_CODE = 7;
const CHUNK = Buffer.alloc(64 * 1024, 'x');

/** A tar with one file of so many bytes, as Docker sends it: header, content, padding, two empty blocks. */
function tarHead(bytes: number): Buffer {
  const head = Buffer.alloc(512);
  head.write('file', 0);
  head.write('0000644\0', 100);
  head.write('0000000\0', 108);
  head.write('0000000\0', 116);
  head.write(`${bytes.toString(8).padStart(11, '0')}\0`, 124);
  head.write('00000000000\0', 136);
  head.write('        ', 148);
  head.write('0', 156);
  head.write('ustar\0', 257);
  head.write('00', 263);
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return head;
}

/** The bytes of the tar with one file of `chunks` chunks. */
export function tarHash(chunks: number): string {
  const hash = createHash('sha256').update(tarHead(chunks * CHUNK.byteLength));
  for (let n = 0; n < chunks; n++) hash.update(CHUNK);
  return hash.update(Buffer.alloc(1024)).digest('hex');
}

export interface EngineCall {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string;
}

const LISTS: Readonly<Record<string, unknown>> = {
  '/containers/json': [
    { Id: WEB, Names: ['/web'], Labels: { note: 'naïve – ☃ 🐳' }, Created: 1_700_000_000 },
    { Id: 'b'.repeat(64), Names: ['/db'] },
  ],
  '/images/json': [{ Id: `sha256:${WEB}`, RepoTags: ['web:1'], Size: 9_007_199_254_740_991 }],
  '/networks': [{ Id: WEB, Name: 'lan' }],
  '/volumes': { Volumes: [{ Name: 'data' }], Warnings: null },
  '/info': { ID: ENGINE_ID, NCPU: 2, MemTotal: 4096, KernelVersion: '6.1', ServerVersion: '99.0' },
};
/** What creating and pruning answer. */
const MADE: Readonly<Record<string, unknown>> = {
  '/containers/create': { Id: WEB, Warnings: ['a warning'] },
  '/containers/prune': { ContainersDeleted: [WEB], SpaceReclaimed: 7 },
  '/images/prune': { ImagesDeleted: null, SpaceReclaimed: 0 },
  '/networks/create': { Id: WEB, Warning: '' },
  '/networks/prune': { NetworksDeleted: null },
  '/volumes/create': { Name: 'data', Mountpoint: '/data' },
  '/volumes/prune': { VolumesDeleted: ['data'], SpaceReclaimed: 1 },
};

export class ScriptedEngine {
  readonly calls: EngineCall[] = [];
  /** What every call but the first questions is refused with. */
  refusal: { readonly status: number; readonly message: string } | undefined;
  /** Nothing is answered. */
  isSilent = false;
  /** Chunks of the files in tars, and after how many of them the connection breaks. */
  chunks = 4;
  breakAfter = Number.POSITIVE_INFINITY;
  /** Answers that are under way. */
  open = 0;
  /** Bytes of tars that went out. */
  sent = 0;
  socket = '';
  readonly #events = new Set<ServerResponse>();
  readonly #silenced = new Set<ServerResponse>();
  #execs: string[] = [];
  #isRunning = false;

  static async start(cleanup: Cleanup): Promise<ScriptedEngine> {
    const engine = new ScriptedEngine();
    const answer = (request: IncomingMessage, response: ServerResponse) => void engine.#answer(request, response);
    engine.socket = (await fakeDocker(cleanup, answer, (socket) => engine.#terminal(socket))).socket;
    return engine;
  }

  /** Everything as at the beginning. */
  reset(): void {
    for (const response of this.#silenced) response.destroy();
    this.#silenced.clear();
    this.calls.length = 0;
    this.refusal = undefined;
    this.isSilent = false;
    this.chunks = 4;
    this.breakAfter = Number.POSITIVE_INFINITY;
    this.sent = 0;
    this.#execs = [];
  }

  get listeners(): number {
    return this.#events.size;
  }

  /** Tells all who listen of something that has happened to the container. */
  tell(action: string): void {
    const now = Date.now();
    const event = { Type: 'container', Action: action, Actor: { ID: WEB, Attributes: { name: 'web' } } };
    const line = `${JSON.stringify({ ...event, scope: 'local', time: Math.floor(now / 1000), timeNano: now * 1e6 })}\n`;
    for (const response of this.#events) response.write(line);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '' } = request;
    const url = new URL(request.url ?? '', 'http://docker');
    const path = url.pathname.replace(/^\/v\d+\.\d+/, '');
    const body = Buffer.concat(await request.toArray()).toString();
    this.calls.push({ method, path, query: url.searchParams, body });
    this.open++;
    response.once('close', () => this.open--);
    response.on('error', () => undefined);
    if (this.isSilent) return void this.#silenced.add(response);
    if (path === '/_ping') return void response.end('OK');
    if (this.refusal !== undefined && !isQuestion(path)) {
      return void json(response, this.refusal.status, { message: this.refusal.message });
    }
    this.#serve(method, path, url.searchParams, body, response);
  }

  #serve(method: string, path: string, query: URLSearchParams, body: string, response: ServerResponse): void {
    const known = method === 'GET' ? LISTS[path] : MADE[path];
    if (known !== undefined) return void json(response, path.endsWith('create') ? 201 : 200, known);
    if (path === '/events') return void this.#listen(query, response);
    if (path === '/images/create') return void pull(query, response);
    if (path === '/images/get' || path.endsWith('/archive')) return void this.#tar(method, query, response);
    if (path.endsWith('/logs')) return void logs(query, response);
    if (path.endsWith('/stats')) return void stats(query, response);
    if (path.includes('/exec')) return void this.#exec(method, path, body, response);
    if (method === 'GET') return void json(response, 200, this.#object(path));
    if (method === 'DELETE' && path.startsWith('/images/')) {
      return void json(response, 200, [{ Untagged: 'web:1' }, { Deleted: `sha256:${WEB}` }]);
    }
    response.writeHead(204).end();
  }

  /** What one object is. */
  #object(path: string): unknown {
    const name = path.split('/')[2] ?? '';
    if (!path.startsWith('/containers/')) return { Id: WEB, Name: name, Labels: { note: 'ü ☃' } };
    if (path.endsWith('/top')) return { Titles: ['PID', 'CMD'], Processes: [['1', 'sleep']] };
    const state = { Running: true, Pid: 4242, StartedAt: '2030-01-01T00:00:00.123456789Z' };
    return { Id: WEB, Name: `/${name}`, Config: { Tty: name === 'tty' }, State: state, ExecIDs: this.#execs };
  }

  #exec(method: string, path: string, body: string, response: ServerResponse): void {
    if (path.endsWith('/exec')) {
      this.#execs = [EXEC_ID];
      return void json(response, 201, { Id: EXEC_ID });
    }
    if (method === 'GET') {
      const command = { entrypoint: 'sh', arguments: [], tty: true };
      const ended = { Running: this.#isRunning, ExitCode: this.#isRunning ? null : EXIT_CODE, Pid: 0 };
      return void json(response, 200, {
        ID: EXEC_ID,
        ContainerID: WEB,
        OpenStdin: true,
        ProcessConfig: command,
        ...ended,
      });
    }
    if (!path.endsWith('/start') || body === '') return void response.writeHead(200).end();
    response.setHeader('content-type', 'application/vnd.docker.raw-stream');
    response.end(Buffer.concat(LOG));
  }

  /** The connection of an exec: a shell that says what it is told, and goes at `exit`; or a command that has ended. */
  #terminal(socket: Socket): void {
    this.#isRunning = true;
    let typed = '';
    const end = () => {
      this.#isRunning = false;
      socket.end();
    };
    socket.on('end', end).on('close', () => {
      this.#isRunning = false;
    });
    socket.on('data', (chunk: Buffer) => {
      typed += chunk.toString();
      socket.write(chunk);
      if (typed.includes('exit\n')) end();
    });
    const { body = '' } = this.calls.findLast(({ path }) => path.endsWith('/exec')) ?? {};
    if (JSON.parse(body || '{}').Tty === true) return void socket.write('# ');
    socket.write(Buffer.concat(LOG));
    end();
  }

  #listen(query: URLSearchParams, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (query.has('until')) return void response.end();
    this.#events.add(response);
    response.once('close', () => this.#events.delete(response));
  }

  async #tar(method: string, query: URLSearchParams, response: ServerResponse): Promise<void> {
    if (query.get('path') === '/none') {
      return void json(response, 404, { message: 'Could not find the file /none in container web' });
    }
    response.writeHead(200, { 'content-type': 'application/x-tar', 'x-docker-container-path-stat': STAT });
    if (method === 'HEAD') return void response.end();
    response.write(tarHead(this.chunks * CHUNK.byteLength));
    for (let n = 0; n < this.chunks && !response.destroyed; n++) {
      if (n >= this.breakAfter) return void response.destroy();
      this.sent += CHUNK.byteLength;
      if (!response.write(CHUNK)) await writable(response);
    }
    response.end(Buffer.alloc(1024));
  }
}

/** Resolves once the response takes more, or is closed. */
async function writable(response: ServerResponse): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  response.once('drain', resolve);
  response.once('close', resolve);
  await promise;
  response.off('drain', resolve);
  response.off('close', resolve);
}

/** What is asked before anything is done: whether Docker is there, and what a container is. */
function isQuestion(path: string): boolean {
  return path === '/info';
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

function logs(query: URLSearchParams, response: ServerResponse): void {
  response.writeHead(200);
  for (const frame of LOG) response.write(frame);
  if (query.get('follow') !== '1') response.end();
}

function stats(query: URLSearchParams, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.write(`${JSON.stringify({ name: '/web', n: 1 })}\n`);
  if (query.get('stream') === '0') return void response.end();
  response.write(`${JSON.stringify({ name: '/web', n: 2 })}\n`);
}

function pull(query: URLSearchParams, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  const records: object[] = [
    { status: 'Pulling from web', id: '1' },
    { status: 'Download complete', id: 'ü' },
  ];
  if (query.get('fromImage')?.includes('broken')) records.push({ error: 'no space left on device' });
  for (const record of records) response.write(`${JSON.stringify(record)}\r\n`);
  response.end();
}
