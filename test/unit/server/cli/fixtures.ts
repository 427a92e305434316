/** An API server for CLI tests, real in its TLS and its CA, and a process around the CLI that lives in memory. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { PassThrough, Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type WebSocket, WebSocketServer } from 'ws';
import { createCa, openCa } from '../../../../certs/authority.ts';
import { formatToken } from '../../../../certs/enrollment-token.ts';
import type { CliInput, CliIo } from '../../../../server/cli/io.ts';
import { runCli } from '../../../../server/cli/program.ts';
import { systemClock } from '../../../../shared/clock.ts';
import type { Cleanup } from '../../../support/tmp.ts';

const INSTALLATION = '6e0f7d9c-6c0b-4a3a-9a43-0d9f0a7a3f10';

export interface Seen {
  method: string;
  url: URL;
  authorization: string | undefined;
  idempotencyKey: string | undefined;
  body: unknown;
}

/** Answers one request with an object, sent as JSON, or by itself. */
export type Handler = (seen: Seen, response: ServerResponse) => unknown;

export interface FakeApi {
  readonly url: string;
  readonly token: string;
  readonly caPem: string;
  readonly requests: Seen[];
  /** Answers `METHOD /path`; an object is sent as JSON, undefined means that the handler has answered. */
  on(route: string, handler: Handler): void;
  /** Takes the WebSockets of any path. */
  onSocket(listener: (socket: WebSocket, url: URL) => void): void;
}

export interface Identity {
  caPem: string;
  token: string;
  leaf: { key: string; cert: string };
}

/** A CA of its own, a server leaf and an API token with that CA's pin. */
export async function makeIdentity(): Promise<Identity> {
  const ca = openCa(await createCa({ installationId: INSTALLATION, clock: systemClock, bits: 2048 }));
  const leaf = await ca.issueServer({ publicHosts: ['fairlead.example'], clock: systemClock });
  const token = formatToken('fla1', { pin: ca.fingerprint, id: 'tok_1', secret: randomBytes(32) });
  return { caPem: ca.certPem, token, leaf: { key: leaf.keyPem, cert: leaf.certPem } };
}

/** Starts an API server; closed after the test. `announced` is the CA it shows, its own unless given. */
export async function fakeApi(cleanup: Cleanup, identity: Identity, announced = identity.caPem): Promise<FakeApi> {
  const handlers = new Map<string, Handler>([['GET /ca.pem', (_seen, response) => void response.end(announced)]]);
  const requests: Seen[] = [];
  const server = https.createServer(identity.leaf, async (request, response) => {
    const seen = await read(request);
    requests.push(seen);
    const handler = handlers.get(`${seen.method} ${seen.url.pathname}`);
    if (handler === undefined) return problem(response, 404, 'NOT_FOUND', `no ${seen.method} ${seen.url.pathname}`);
    const answer = handler(seen, response);
    if (answer === undefined || response.headersSent) return;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(answer));
  });
  const sockets = new WebSocketServer({ server });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.after(async () => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: identity.token,
    caPem: identity.caPem,
    requests,
    on: (route, handler) => void handlers.set(route, handler),
    onSocket(listener) {
      sockets.on('connection', (socket, request) => listener(socket, new URL(request.url ?? '', 'https://x')));
    },
  };
}

async function read(request: IncomingMessage): Promise<Seen> {
  const body = await text(request);
  const isJson = request.headers['content-type'] === 'application/json';
  return {
    method: request.method ?? '',
    url: new URL(request.url ?? '', 'https://x'),
    authorization: request.headers.authorization,
    idempotencyKey: request.headers['idempotency-key'] as string | undefined,
    body: body === '' ? undefined : isJson ? JSON.parse(body) : body,
  };
}

export function problem(response: ServerResponse, status: number, code: string, detail: string, more = {}): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify({ type: 'about:blank', title: code, status, code, detail, requestId: 'r', ...more }));
}

export interface FakeIo extends CliIo {
  readonly env: Record<string, string | undefined>;
  out(): string;
  err(): string;
  readonly bytes: Buffer[];
  /** Ends the process as a signal would. */
  kill(): void;
}

/** A process in memory. `input` is its standard input, empty unless given. */
export function fakeIo(env: Record<string, string | undefined>, input: CliInput = Readable.from([])): FakeIo {
  const [stdout, stderr] = [collector(), collector()];
  const listeners = new Set<() => void>();
  return {
    stdin: input,
    stdout: stdout.stream,
    stderr: stderr.stream,
    env,
    now: () => Date.parse('2030-01-01T00:00:00Z'),
    onKill(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onStop(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    kill: () => {
      for (const listener of listeners) listener();
    },
    bytes: stdout.chunks,
    out: () => Buffer.concat(stdout.chunks).toString('utf8'),
    err: () => Buffer.concat(stderr.chunks).toString('utf8'),
  };
}

function collector(): { stream: Writable; chunks: Buffer[] } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      setImmediate(done);
    },
  });
  return { stream, chunks };
}

/** A terminal as standard input, which records the modes it was set to. */
export function fakeTerminal(): PassThrough & CliInput & { modes: boolean[] } {
  const modes: boolean[] = [];
  return Object.assign(new PassThrough(), { isTTY: true, modes, setRawMode: (raw: boolean) => modes.push(raw) });
}

/** Runs the CLI against `api` with its token. */
export async function runAgainst(
  api: FakeApi,
  args: readonly string[],
  options: { env?: Record<string, string>; input?: CliInput; io?: FakeIo } = {},
): Promise<{ code: number; out: string; err: string; io: FakeIo }> {
  const env = { FAIRLEAD_SERVER: api.url, FAIRLEAD_API_TOKEN: api.token, HOME: '/nonexistent', ...options.env };
  const io = options.io ?? fakeIo(env, options.input);
  Object.assign(io.env, env);
  const code = await runCli(args, io);
  // As the process does before it exits.
  for (const stream of [io.stdout, io.stderr]) await new Promise((flushed) => stream.write('', flushed));
  return { code, out: io.out(), err: io.err(), io };
}
