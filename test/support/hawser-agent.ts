/**
 * An agent of Hawser for tests, made from what real ones were seen to do: JSON over a WebSocket, each frame served by itself and
 * so in no order, answers whole or cut at 4096 bytes without a status, bodies of streamed requests dropped, execs that say
 * nothing of how they end. It asks the real Docker socket.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { DOCKER_SOCKET } from './docker.ts';
import { type Cleanup, defer } from './tmp.ts';

const CHUNK_BYTES = 4096;
/** Above this each message goes in pieces, as those of gorilla do. */
const WRITE_BUFFER_BYTES = 4096;

export interface HawserAgentOptions {
  readonly url: string;
  readonly token: string;
  readonly ca?: string;
  readonly agentId?: string;
  readonly agentName?: string;
  readonly hostname?: string;
  readonly version?: string;
  readonly dockerVersion?: string;
  readonly capabilities?: readonly string[] | null;
  /** Frames are served in any order, as goroutines are. */
  readonly isUnordered?: boolean;
  /** The machine's own unless given. */
  readonly dockerSocket?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: messages of every sort
type Message = any;

interface Exec {
  readonly write: (bytes: Buffer) => void;
  readonly end: () => void;
  readonly resize: (cols: number, rows: number) => void;
}

export class HawserAgent {
  readonly ws: WebSocket;
  readonly received: Message[] = [];
  readonly #options: HawserAgentOptions;
  readonly #streams = new Map<string, IncomingMessage>();
  readonly #execs = new Map<string, Exec>();
  readonly #closed = Promise.withResolvers<{ code: number; reason: string }>();
  readonly #welcome = Promise.withResolvers<Message>();

  constructor(options: HawserAgentOptions) {
    this.#options = options;
    this.#welcome.promise.catch(() => undefined);
    this.ws = new WebSocket(options.url, {
      perMessageDeflate: false,
      headers: { 'User-Agent': 'Go-http-client/1.1' },
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    });
    this.ws.on('error', (error) => this.#welcome.reject(error));
    this.ws.once('open', () => this.#hello());
    this.ws.on('message', (data) => this.#receive(JSON.parse(String(data))));
    this.ws.once('close', (code, reason) => {
      for (const stream of this.#streams.values()) stream.destroy();
      this.#welcome.reject(new Error(`closed with ${code} ${String(reason)}`));
      this.#closed.resolve({ code, reason: String(reason) });
    });
  }

  /** The server's first message. @throws Error for any other than a welcome */
  get welcome(): Promise<Message> {
    return this.#welcome.promise;
  }

  get closed(): Promise<{ code: number; reason: string }> {
    return this.#closed.promise;
  }

  /** Streams and execs that are being served. */
  get running(): number {
    return this.#streams.size + this.#execs.size;
  }

  send(message: object | string): void {
    if (this.ws.readyState !== WebSocket.OPEN) return;
    const text = Buffer.from(typeof message === 'string' ? message : JSON.stringify(message));
    if (text.byteLength <= WRITE_BUFFER_BYTES) return void this.ws.send(text, { binary: false });
    for (let at = 0; at < text.byteLength; at += WRITE_BUFFER_BYTES) {
      const fin = at + WRITE_BUFFER_BYTES >= text.byteLength;
      this.ws.send(text.subarray(at, at + WRITE_BUFFER_BYTES), { binary: false, fin });
    }
  }

  /** As a killed process: without a farewell. */
  kill(): void {
    this.ws.terminate();
  }

  #hello(): void {
    const {
      token,
      agentId = randomUUID(),
      agentName = 'lab-agent',
      hostname = 'vm',
      version = '0.2.14',
    } = this.#options;
    const { dockerVersion = '20.10.24', capabilities = ['exec', 'metrics', 'events'] } = this.#options;
    const hello = { type: 'hello', version, protocol: '1.0', agentId, agentName, token, dockerVersion, hostname };
    this.send({ ...hello, capabilities });
  }

  #receive(message: Message): void {
    this.received.push(message);
    if (this.received.length === 1) {
      if (message.type === 'welcome' && Number.isInteger(message.environmentId)) this.#welcome.resolve(message);
      else {
        this.#welcome.reject(new Error(`expected welcome message, got ${message.type}: ${message.error}`));
        this.ws.terminate();
      }
      return;
    }
    const serve = () => void this.#serve(message).catch((error: unknown) => this.#fail(message, error));
    if (this.#options.isUnordered) setTimeout(serve, Math.random() * 4);
    else serve();
  }

  async #serve(message: Message): Promise<void> {
    switch (message.type) {
      case 'ping':
        return this.send({ type: 'pong', timestamp: Math.floor(Date.now() / 1000) });
      case 'request':
        return message.streaming ? await this.#stream(message) : await this.#answer(message);
      case 'stream_end': {
        this.#streams.get(message.requestId)?.destroy();
        return;
      }
      case 'exec_start':
        return await this.#exec(message);
      case 'exec_input':
        return (await this.#found(message.execId))?.write(Buffer.from(message.data, 'base64'));
      case 'exec_resize':
        return (await this.#found(message.execId))?.resize(message.cols, message.rows);
      case 'exec_end':
        return this.#execs.get(message.execId)?.end();
      default:
        return undefined;
    }
  }

  #fail(message: Message, error: unknown): void {
    const requestId = message.requestId ?? message.execId;
    this.send({ type: 'error', requestId, error: String(error), code: 'DOCKER_ERROR' });
  }

  async #answer(message: Message): Promise<void> {
    if (message.path === '/_hawser/compose') return await this.#compose(message);
    const response = await this.#docker(message.method, message.path, message.headers, bodyOf(message));
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const { requestId } = message;
    const headers: Record<string, string> = {};
    for (let at = 0; at < response.rawHeaders.length; at += 2) {
      headers[response.rawHeaders[at] ?? ''] ??= response.rawHeaders[at + 1] ?? '';
    }
    const type = String(response.headers['content-type'] ?? '');
    const isBinary = /octet-stream|raw-stream|tar|gzip/.test(type) || body.some(isControl);
    this.send({
      ...{ type: 'response', requestId, statusCode: response.statusCode, headers },
      ...(body.byteLength === 0 ? {} : { body: body.toString(isBinary ? 'base64' : 'utf8') }),
      ...(isBinary ? { isBinary: true } : {}),
    });
  }

  /** By the Compose of this machine, which gets the file on its standard input. */
  async #compose({ requestId, body }: Message): Promise<void> {
    const { operation, projectName, composeFile, services = [], envVars = {} } = body;
    const flags: Record<string, string[]> = { up: ['-d', '--remove-orphans'], down: ['--remove-orphans'] };
    const file = composeFile === undefined ? [] : ['-f', '-'];
    const args = ['compose', '-p', projectName, ...file, operation, ...(flags[operation] ?? []), ...services];
    const child = spawn('docker', args, { env: { ...process.env, ...envVars }, stdio: ['pipe', 'pipe', 'pipe'] });
    child.stdin.on('error', () => undefined); // it may end before it has read everything
    child.stdin.end(composeFile ?? '');
    const [output, error, [exitCode]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ]);
    const success = exitCode === 0;
    const reply = { success, output, exitCode, ...(success ? {} : { error }) };
    this.send({ type: 'response', requestId, statusCode: success ? 200 : 500, body: JSON.stringify(reply) });
  }

  async #stream({ requestId, method, path, headers }: Message): Promise<void> {
    // What is ended before it has begun is not ended at all.
    const response = await this.#docker(method, path, headers, undefined);
    this.#streams.set(requestId, response);
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.byteLength; at += CHUNK_BYTES) {
          this.send({ type: 'stream', requestId, data: chunk.subarray(at, at + CHUNK_BYTES).toString('base64') });
        }
        while (this.ws.bufferedAmount > 1024 * 1024) await delay(1);
      }
    } catch {
      // An end, a failure and a cancel are all the same to it.
    } finally {
      this.#streams.delete(requestId);
      this.send({ type: 'stream_end', requestId, reason: 'completed' });
    }
  }

  async #exec({ execId, containerId, cmd, user, cols, rows }: Message): Promise<void> {
    const config = { AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: true, Cmd: [cmd], User: user };
    const json = { 'content-type': 'application/json' };
    const created = await this.#docker('POST', `/containers/${containerId}/exec`, json, JSON.stringify(config));
    const text = Buffer.concat(await created.toArray()).toString();
    if (created.statusCode !== 201) {
      const error = `exec create failed: ${created.statusCode} - ${text}`;
      return this.send({ type: 'error', requestId: execId, error, code: 'EXEC_CREATE_ERROR' });
    }
    const { Id } = JSON.parse(text) as { Id: string };
    const path = `/exec/${Id}/start`;
    const headers = { ...json, connection: 'Upgrade', upgrade: 'tcp' };
    const outgoing = httpRequest({ socketPath: this.#socketPath, method: 'POST', path, headers });
    outgoing.end(JSON.stringify({ Detach: false, Tty: true }));
    outgoing.once('error', (error) => this.#fail({ execId }, error));
    outgoing.once('upgrade', (_response, socket, head) => {
      // A size that Docker does not take, or that comes too late, is nobody's loss.
      const resize = (w: number, h: number) => {
        void this.#docker('POST', `/exec/${Id}/resize?w=${w}&h=${h}`, {}, undefined).catch(() => undefined);
      };
      const output = (bytes: Buffer) => this.send({ type: 'exec_output', execId, data: bytes.toString('base64') });
      this.#execs.set(execId, { write: (bytes) => socket.write(bytes), end: () => socket.destroy(), resize });
      this.send({ type: 'exec_ready', execId });
      if (cols > 0 && rows > 0) resize(cols, rows);
      if (head.byteLength > 0) output(head);
      socket.on('data', output);
      socket.once('close', () => {
        this.#execs.delete(execId);
        this.send({ type: 'exec_end', execId, reason: 'container_exit' });
      });
      socket.on('error', () => undefined);
    });
  }

  get #socketPath(): string {
    return this.#options.dockerSocket ?? DOCKER_SOCKET;
  }

  #docker(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: Buffer | string | undefined,
  ): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const options = { socketPath: this.#socketPath, method, path, headers: headers ?? {}, agent: false };
    const outgoing = httpRequest(options, resolve);
    outgoing.once('error', reject);
    outgoing.end(body);
    return promise;
  }

  /** Ten tries: input may be faster than its exec. */
  async #found(execId: string): Promise<Exec | undefined> {
    for (let tries = 0; tries < 10 && !this.#execs.has(execId); tries++) await delay(50);
    return this.#execs.get(execId);
  }
}

function isControl(byte: number): boolean {
  return byte < 0x09 || (byte >= 0x0e && byte <= 0x1f) || byte === 0x7f;
}

/** JSON bodies go out byte for byte; binary ones are of newer agents. */
function bodyOf({ body, isBinary }: Message): Buffer | string | undefined {
  if (body === undefined) return undefined;
  return isBinary === true ? Buffer.from(body, 'base64') : JSON.stringify(body);
}

/** Connects an agent, which is gone after the test. */
export function connectAgent(cleanup: Cleanup, options: HawserAgentOptions): HawserAgent {
  const agent = new HawserAgent(options);
  defer(cleanup, async () => agent.kill());
  return agent;
}
