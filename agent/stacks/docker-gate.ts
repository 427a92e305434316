/**
 * The Docker that Compose gets to see: a socket of the agent's own, in a directory that nobody else can enter, which puts
 * each request to Docker as far as the host's policy permits it, as for any client of the mesh.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { endToEnd, type HeaderPair } from '../../shared/docker/headers.ts';
import type { RawRequest } from '../../shared/docker/raw-exchange.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { pump } from '../../shared/pump.ts';
import type { DockerEngine } from '../docker/engine.ts';
import type { PolicySubject } from '../policy/policy.ts';

const MAX_CONNECTIONS = 256;
/** The longest path of a socket that the kernel takes, less than its 108 bytes. */
const MAX_SOCKET_PATH_BYTES = 100;
/** What is said anew for Docker. */
const OWN_HEADERS: ReadonlySet<string> = new Set(['host', 'content-length', 'expect']);

export class DockerGate {
  /** As DOCKER_HOST takes it. */
  readonly address: string;
  readonly #server: Server;
  readonly #kind: PolicySubject;
  readonly #docker: DockerEngine;
  #denial: FairleadError | undefined;
  #loss: FairleadError | undefined;

  /** @param kind as which the host's policy judges what is asked. @throws FairleadError VALIDATION, the file system's error */
  static async open(path: string, kind: PolicySubject, docker: DockerEngine): Promise<DockerGate> {
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
      const room = `${MAX_SOCKET_PATH_BYTES} bytes`;
      throw new FairleadError('VALIDATION', `the agent's state directory has too long a name: ${path} exceeds ${room}`);
    }
    const gate = new DockerGate(path, kind, docker);
    await new Promise<void>((resolve, reject) => {
      gate.#server.once('error', reject).listen(path, resolve);
    });
    return gate;
  }

  private constructor(path: string, kind: PolicySubject, docker: DockerEngine) {
    this.address = `unix://${path}`;
    this.#kind = kind;
    this.#docker = docker;
    this.#server = createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
      void this.#serve(request, response);
    });
    // Where no file descriptors are left it cannot take a connection, which Compose is told by that.
    this.#server.on('error', () => undefined);
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** What the host's policy has denied, if it has: the first of it. */
  get denial(): FairleadError | undefined {
    return this.#denial;
  }

  /** How Docker was lost under a call, if it was: the first time. */
  get loss(): FairleadError | undefined {
    return this.#loss;
  }

  /** Ends what goes on and takes nothing more. Idempotent. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  /** Never rejects. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort(new FairleadError('CANCELLED', 'Compose went away')));
    try {
      await this.#passOn(request, response, gone.signal);
    } catch (caught) {
      const error = this.#docker.explain(caught);
      if (isFairleadError(error, 'DENIED_BY_HOST')) this.#denial ??= error;
      if (isFairleadError(error, 'DOCKER_UNREACHABLE')) this.#loss ??= error;
      refuse(response, error);
    }
  }

  async #passOn(request: IncomingMessage, response: ServerResponse, gone: AbortSignal): Promise<void> {
    const exchange = this.#docker.exchange(this.#kind, rawRequest(request));
    try {
      const isSent = sendBody(request, exchange.body, gone);
      const answer = await Promise.race([exchange.answer, isSent.then(() => exchange.answer), rejection(gone)]);
      if (answer.body === undefined) throw new FairleadError('UNSUPPORTED', 'Compose gets no bare connections here');
      response.writeHead(answer.status, answer.reason, answer.headers.flat());
      response.flushHeaders();
      await pump(answer.body, response, gone);
      response.end();
    } finally {
      exchange.destroy();
    }
  }
}

function rawRequest(request: IncomingMessage): RawRequest {
  const { method = '', url = '', headers, rawHeaders } = request;
  const length = headers['content-length'];
  const body = headers['transfer-encoding'] !== undefined ? 'chunked' : Number(length ?? 0) || 'none';
  const isOurs = ([name]: HeaderPair) => !OWN_HEADERS.has(name.toLowerCase());
  return { method, target: url, headers: endToEnd(rawHeaders).filter(isOurs), body };
}

async function sendBody(request: IncomingMessage, sink: NodeJS.WritableStream, gone: AbortSignal): Promise<void> {
  const writable = sink as Parameters<typeof pump>[1];
  if (writable.writableEnded) {
    request.resume();
    return;
  }
  await pump(request, writable, gone);
  writable.end();
}

function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** In Docker's own form, so that Compose shows the sentence. */
function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const { message } = toWireError(error);
  const status = isFairleadError(error, 'DENIED_BY_HOST') ? 403 : 502;
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify({ message }));
}
