/**
 * An agent of Hawser in its Standard mode, as it is described: an HTTP(S) server before a Docker socket. It streams some calls
 * and cuts off all others after a while with a clean end, hands over the connections of execs, and closes both directions as soon
 * as one ends.
 */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { Cleanup } from './tmp.ts';

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const SMALL_BYTES = 64 * 1024;

export interface StandardAgentOptions {
  readonly token: string;
  /** Docker's socket, or one that stands for it. */
  readonly docker: string;
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Where it listens: any free port of the loopback unless given. */
  readonly port?: number;
  readonly agentId?: string;
}

/** What goes wrong, to be set at any time. */
export interface StandardFaults {
  /** What calls that are not streamed may take, in ms; the real agent gives them 30 s. */
  limitMs: number;
  /** Answers all that is asked with its token so: 401, 429. */
  refuses: number | undefined;
  /** Whether it answers when it is looked after; if not, by 503. */
  isHealthy: boolean;
}

export interface StandardAgent {
  readonly url: string;
  readonly port: number;
  readonly faults: StandardFaults;
  /** Made anew at each start of a real one. */
  readonly identity: { agentId: string };
  /** Requests that have no answer yet. */
  readonly busy: number;
  /** What it was asked, as `GET /path`, in order. */
  readonly asked: string[];
  /** Tokens that it was shown. */
  readonly tokens: Set<string>;
  /** Connections that are open now. */
  readonly connections: Set<Socket>;
  /** As SIGTERM does: it is gone at once. */
  stop(): Promise<void>;
}

export async function standardAgent(cleanup: Cleanup, options: StandardAgentOptions): Promise<StandardAgent> {
  const faults: StandardFaults = { limitMs: 30_000, refuses: undefined, isHealthy: true };
  const asked: string[] = [];
  const tokens = new Set<string>();
  const connections = new Set<Socket>();
  const startedAt = Date.now();
  const identity = { agentId: options.agentId ?? '1111-2222' };
  let busy = 0;
  const admit = (request: IncomingMessage): number | undefined => {
    asked.push(`${request.method} ${request.url}`);
    const token = String(request.headers['x-hawser-token'] ?? '');
    tokens.add(token);
    if (token !== options.token) return 401;
    return faults.refuses;
  };
  const server = options.tls ? https.createServer(options.tls) : http.createServer();
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const path = request.url?.split('?')[0] ?? '';
    busy++;
    response.once('close', () => {
      busy--;
    });
    if (path === '/_hawser/health') {
      asked.push(`GET ${path}`);
      return void json(response, faults.isHealthy ? 200 : 503, { status: faults.isHealthy ? 'healthy' : 'unhealthy' });
    }
    const refused = admit(request);
    if (refused !== undefined)
      return void plain(response, refused, refused === 401 ? 'Unauthorized' : 'Too Many Requests');
    if (path === '/_hawser/info') {
      if (!faults.isHealthy) return void plain(response, 503, 'unhealthy');
      const uptime = Math.floor((Date.now() - startedAt) / 1000);
      const names = { ...identity, agentName: 'std', hawserVersion: '0.2.14' };
      return void json(response, 200, { ...names, dockerVersion: '20.10.24', mode: 'standard', uptime });
    }
    passOn(request, response, options.docker, isStreaming(request) ? undefined : faults.limitMs);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const refused = admit(request);
    if (refused !== undefined)
      return void socket.end(`HTTP/1.1 ${refused} No\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n`);
    const isExec = /\/exec\/[^/]+\/start$/.test(request.url ?? '');
    if (isExec && request.headers.connection === 'Upgrade') return void handOver(request, socket, head, options.docker);
    // Passed on without its upgrade: what Docker then says comes through nothing.
  });
  server.on('connection', (socket: Socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    socket.on('error', () => undefined);
  });
  server.on('tlsClientError', () => undefined);
  await once(server.listen(options.port ?? 0, '127.0.0.1'), 'listening');
  const stop = async () => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    for (const socket of connections) socket.destroy();
    await closed;
  };
  cleanup.after(stop);
  const { port } = server.address() as AddressInfo;
  return {
    url: `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    port,
    faults,
    identity,
    get busy() {
      return busy;
    },
    asked,
    tokens,
    connections,
    stop,
  };
}

/** The calls that it lets go on for as long as they do. */
function isStreaming({ method, url = '' }: IncomingMessage): boolean {
  const path = url.split('?')[0] ?? '';
  if (path.includes('/attach') || (path.includes('/exec/') && path.endsWith('/start')) || path.endsWith('/events'))
    return true;
  if (method === 'GET') return path.endsWith('/logs');
  return method === 'POST' && /\/(?:build|images\/create|push)$/.test(path);
}

/** The first value of each header, without those between neighbours. */
function passed(headers: IncomingMessage['headersDistinct']): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name));
  return Object.fromEntries(kept.flatMap(([name, values]) => (values?.[0] === undefined ? [] : [[name, values[0]]])));
}

function passOn(request: IncomingMessage, response: ServerResponse, docker: string, limitMs: number | undefined): void {
  const { method, url: path } = request;
  const outgoing = http.request({
    socketPath: docker,
    method,
    path,
    headers: passed(request.headersDistinct),
    agent: false,
  });
  const timer = limitMs === undefined ? undefined : setTimeout(() => cutOff(), limitMs);
  const cutOff = () => {
    outgoing.destroy();
    if (response.headersSent) response.end();
    else plain(response, 502, 'Failed to connect to Docker: context deadline exceeded (Client.Timeout exceeded)');
  };
  outgoing.on('error', (error) => {
    if (!response.headersSent) plain(response, 502, `Failed to connect to Docker: ${error.message}`);
    else response.end();
  });
  outgoing.on('response', (answer) => {
    response.writeHead(answer.statusCode ?? 0, passed(answer.headersDistinct));
    response.flushHeaders();
    answer.on('data', (chunk: Buffer) => {
      if (!response.write(chunk)) answer.pause();
    });
    response.on('drain', () => answer.resume());
    answer.on('error', () => response.end());
    answer.on('end', () => response.end());
  });
  response.once('close', () => {
    clearTimeout(timer);
    outgoing.destroy();
  });
  // Docker answers as soon as it has read a JSON, and closes: the end of it must not be a write of its own.
  if (Number(request.headers['content-length'] ?? Number.NaN) > SMALL_BYTES || !request.headers['content-length'])
    request.pipe(outgoing);
  else
    void buffer(request).then(
      (body) => outgoing.end(body),
      () => outgoing.destroy(),
    );
}

/** Joins the client's connection and Docker's, until either of them ends. */
function handOver(request: IncomingMessage, socket: Duplex, head: Buffer, docker: string): void {
  const upstream = connect(docker);
  const { method, url } = request;
  const headers = { ...passed(request.headersDistinct), connection: 'Upgrade', upgrade: 'tcp' };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  upstream.write(`${method} ${url} HTTP/1.1\r\n${lines.join('')}\r\n`);
  // Node gives what is the request's body by the request, and the rest by the socket.
  request.on('data', (chunk: Buffer) => upstream.write(chunk));
  request.once('end', () => upstream.write(head));
  let answer: Buffer | undefined = Buffer.alloc(0);
  upstream.on('data', (chunk: Buffer) => {
    if (answer === undefined) return void (socket.write(chunk) || upstream.pause());
    answer = Buffer.concat([answer, chunk]);
    const end = answer.indexOf('\r\n\r\n');
    if (end === -1) return;
    const [status = ''] = answer.toString('latin1', 0, end).split('\r\n');
    const isDone = / 101 /.test(status);
    const type = 'Content-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n';
    socket.write(`${isDone ? 'HTTP/1.1 101 Switching Protocols' : status}\r\n${type}`);
    socket.write(answer.subarray(end + 4));
    answer = undefined;
  });
  socket.on('data', (chunk: Buffer) => upstream.write(chunk) || socket.pause());
  upstream.on('drain', () => socket.resume());
  socket.on('drain', () => upstream.resume());
  const close = () => {
    socket.destroy();
    upstream.destroy();
  };
  // What is still to come is lost with the side that has not ended; what has been written goes out.
  socket.on('end', close).on('error', close).on('close', close);
  upstream
    .on('end', () => socket.end(close))
    .on('error', close)
    .on('close', () => socket.end(close));
}

function json(response: ServerResponse, status: number, value: object): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': body.byteLength }).end(body);
}

function plain(response: ServerResponse, status: number, text: string): void {
  const headers = { 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' };
  response.writeHead(status, { ...headers, 'Content-Length': Buffer.byteLength(text) }).end(text);
}
