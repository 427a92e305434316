/** The client of the REST API: JSON calls, streamed answers and WebSockets, all over what the server is trusted by. */
import { randomUUID } from 'node:crypto';
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { WebSocket } from 'ws';
import { type Clock, systemClock } from '../../shared/clock.ts';
import { FairleadError, fromWireError, type Repeat } from '../../shared/errors.ts';
import { Gathered } from '../../shared/gathered.ts';
import { explainNetworkError } from '../../shared/network-errors.ts';
import { UnreachableError } from '../../shared/pinned-http.ts';
import { pump } from '../../shared/pump.ts';
import { CliError, systemCode } from './errors.ts';
import { watchServer } from './server-watch.ts';
import { type Trust, tlsOptions } from './trust.ts';
import { untilAnswered } from './until-answered.ts';

/** Time for the head of an answer, and for the whole of a JSON one, unless a call says otherwise. */
const TIMEOUT_MS = 60_000;
/** The largest JSON answer that is taken into memory. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;
const MAX_PROBLEM_BYTES = 64 * 1024;
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** How soon a silent connection is probed, so that a follower notices a server that is gone. */
const KEEP_ALIVE_PROBE_MS = 15_000;
const MAX_SOCKETS = 8;
/** How much of a list is asked for at once. */
const PAGE_ITEMS = 500;

export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

export interface CallOptions {
  readonly query?: Query;
  readonly body?: unknown;
  /** A body that is sent as it comes, in the place of `body`. Time for the whole exchange is then unlimited unless given. */
  readonly content?: { readonly type: string; readonly bytes: Readable };
  readonly signal?: AbortSignal;
  /** More headers. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The idempotency key of a change. */
  readonly key?: string;
  /** Time for the whole exchange (for `stream`: for its head), in ms. */
  readonly timeoutMs?: number;
}

export interface ApiTarget {
  /** The server's base URL, as `serverUrl` returns it. */
  readonly url: URL;
  readonly trust: Trust;
  /** Asked once when the server cannot be verified. @returns what to trust instead, if there is something */
  readonly follow?: () => Promise<Trust | undefined>;
  /** The bearer token. */
  readonly token: string;
  /** The system's unless given. */
  readonly clock?: Clock;
}

/** Writes a path with each value as one encoded segment. @throws CliError for a value that would leave its segment. */
export function path(parts: TemplateStringsArray, ...values: readonly string[]): string {
  return parts.reduce((text, part, index) => text + segment(values[index - 1] ?? '') + part);
}

function segment(value: string): string {
  if (value === '' || value === '.' || value === '..') {
    throw new CliError(`'${value}' cannot be the name of anything`, { exitCode: 2 });
  }
  return encodeURIComponent(value);
}

export class ApiClient {
  readonly url: URL;
  #trust: Trust;
  #follow: (() => Promise<Trust | undefined>) | undefined;
  readonly #token: string;
  readonly #clock: Clock;
  readonly #agent: http.Agent;

  constructor(target: ApiTarget) {
    this.url = target.url;
    this.#trust = target.trust;
    this.#follow = target.follow;
    this.#token = target.token;
    this.#clock = target.clock ?? systemClock;
    const { Agent } = target.trust.kind === 'loopback' ? http : https;
    this.#agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS });
  }

  /** Closes idle connections. Idempotent. */
  close(): void {
    this.#agent.destroy();
  }

  get<T>(path: string, options?: CallOptions): Promise<T> {
    return this.call('GET', path, options);
  }

  post<T>(path: string, body?: unknown, options?: CallOptions): Promise<T> {
    return this.call('POST', path, { ...options, ...(body === undefined ? {} : { body }) });
  }

  /** One JSON exchange; undefined for an answer without a body. @throws FairleadError with the problem's code and detail */
  async call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const { content, timeoutMs = content === undefined ? TIMEOUT_MS : undefined } = options;
    const timeout = timeoutMs === undefined ? new AbortController().signal : AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
    try {
      const response = await this.#send(method, path, 'application/json', { ...options, signal });
      const text = (await readBody(response, MAX_JSON_BYTES)).toString('utf8');
      return (text === '' ? undefined : JSON.parse(text)) as T;
    } catch (error) {
      throw this.#explain(error, timeout);
    }
  }

  /**
   * A change of something on a host, which acts once: when its answer is lost on the way it is asked for again, by the same
   * key, for a minute.
   * @throws FairleadError as `call`; STREAM_INTERRUPTED if nobody knows whether it was made
   */
  async change<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const key = randomUUID();
    return await untilAnswered(() => this.call(method, path, { ...options, key }));
  }

  /** Every item of a list, page after page, up to `limit` if one is given. */
  async list<T>(path: string, options: CallOptions & { limit?: number } = {}): Promise<T[]> {
    const items: T[] = [];
    const limit = options.limit ?? Number.POSITIVE_INFINITY;
    let cursor: string | undefined;
    do {
      const query = { ...options.query, cursor, limit: Math.min(limit - items.length, PAGE_ITEMS) };
      const page = await this.get<{ items: T[]; nextCursor?: string | null }>(path, { ...options, query });
      items.push(...page.items);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined && items.length < limit);
    return items;
  }

  /** A call, GET unless said otherwise, whose answer is read as it comes; its body fails when the server breaks it off. */
  async stream(path: string, options: CallOptions & { accept: string; method?: string }): Promise<IncomingMessage> {
    // The clock stops once the head is there: a followed log may then be silent for days.
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), options.timeoutMs ?? TIMEOUT_MS);
    try {
      const signal = options.signal === undefined ? timeout.signal : AbortSignal.any([timeout.signal, options.signal]);
      return await this.#send(options.method ?? 'GET', path, options.accept, { ...options, signal });
    } catch (error) {
      throw this.#explain(error, timeout.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  /** What the server is known by. */
  get trust(): Trust {
    return this.#trust;
  }

  /** Opens a WebSocket. The caller attaches its listeners before it gives up its turn. */
  async socket(path: string, options: CallOptions = {}): Promise<WebSocket> {
    try {
      return await this.#verified(() => this.#openSocket(path, options));
    } catch (error) {
      throw this.#explain(error);
    }
  }

  async #openSocket(path: string, options: CallOptions): Promise<WebSocket> {
    const url = this.#resolve(path, options.query);
    url.protocol = this.#trust.kind === 'loopback' ? 'ws:' : 'wss:';
    const socket = new WebSocket(url, {
      ...tlsOptions(this.#trust),
      headers: { authorization: `Bearer ${this.#token}` },
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
      handshakeTimeout: options.timeoutMs ?? TIMEOUT_MS,
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once('upgrade', ({ socket: connection }) => watchServer(socket, connection, this.#clock));
    socket.once('open', resolve);
    socket.on('error', reject); // stays: a later error is followed by close, which the caller handles
    socket.once('unexpected-response', (_request, response: IncomingMessage) => {
      problem(response).then(reject, reject);
    });
    try {
      await promise;
      return socket;
    } catch (error) {
      socket.terminate();
      throw error;
    }
  }

  /** A server whose certificate cannot be verified has been sent nothing: once it is, all can be sent again. */
  async #verified<T>(attempt: () => Promise<T>): Promise<T> {
    try {
      return await attempt();
    } catch (error) {
      const follow = this.#follow;
      if (follow === undefined || explainNetworkError(error, '').failure !== 'tls') throw error;
      this.#follow = undefined;
      // Whatever keeps the server's roots from being looked at, the first error is the one that counts.
      const trust = await follow().catch(() => undefined);
      if (trust === undefined) throw error;
      this.#trust = trust;
      return await attempt();
    }
  }

  #resolve(path: string, query: Query = {}): URL {
    const url = new URL(this.url);
    url.pathname = this.url.pathname.replace(/\/$/, '') + path;
    for (const [name, value] of Object.entries(query)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== undefined) url.searchParams.append(name, String(one));
      }
    }
    return url;
  }

  async #send(method: string, path: string, accept: string, options: CallOptions): Promise<IncomingMessage> {
    return await this.#verified(() => this.#sendOnce(method, path, accept, options));
  }

  async #sendOnce(method: string, path: string, accept: string, options: CallOptions): Promise<IncomingMessage> {
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const { request } = this.#trust.kind === 'loopback' ? http : https;
    const outgoing = request(
      this.#resolve(path, options.query),
      {
        ...tlsOptions(this.#trust),
        method,
        agent: this.#agent,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        headers: {
          ...options.headers,
          accept,
          authorization: `Bearer ${this.#token}`,
          ...(options.key === undefined ? {} : { 'idempotency-key': options.key }),
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
          ...(options.content === undefined ? {} : { 'content-type': options.content.type, expect: '100-continue' }),
        },
      },
      resolve,
    );
    outgoing.on('error', reject);
    outgoing.on('socket', (socket) => socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS));
    if (options.content === undefined) outgoing.end(body);
    else sendContent(outgoing, options.content.bytes, reject);
    const response = await promise;
    if (response.statusCode !== undefined && response.statusCode >= 200 && response.statusCode < 300) return response;
    throw await problem(response);
  }

  /** What a person can do about a connection that failed; an answer of the server stays as it is. */
  #explain(error: unknown, timeout?: AbortSignal): unknown {
    if (error instanceof FairleadError || error instanceof CliError) return error;
    if (timeout?.aborted) return new FairleadError('TIMEOUT', `the server at ${this.url.host} did not answer in time`);
    if (systemCode(error) === 'ABORT_ERR')
      return new FairleadError('CANCELLED', 'the call was ended before its answer');
    const { failure, message } = explainNetworkError(error, `the server at ${this.url.host}`);
    return new UnreachableError(failure, message, error);
  }
}

/** Sends `content` once the server is verified and listens; an answer may come before all of it. */
function sendContent(outgoing: ClientRequest, content: Readable, fail: (error: unknown) => void): void {
  const ended = new AbortController();
  outgoing.once('close', () => ended.abort());
  outgoing.once('continue', () => {
    pump(content, outgoing, ended.signal).then(
      () => outgoing.end(),
      (error: unknown) => {
        if (ended.signal.aborted || outgoing.destroyed || outgoing.errored) return;
        fail(error);
        outgoing.destroy();
      },
    );
  });
  outgoing.flushHeaders();
}

/** The error that a refused call carries as problem+json; whatever else came is told by its status. */
async function problem(response: IncomingMessage): Promise<FairleadError> {
  const text = (await readBody(response, MAX_PROBLEM_BYTES)).toString('utf8');
  const body = parseProblem(text);
  if (body === undefined) {
    return new FairleadError(
      'INTERNAL',
      `the server answered ${response.statusCode} ${response.statusMessage ?? ''}`.trim(),
    );
  }
  const error = fromWireError({ code: body.code, message: body.detail ?? body.title ?? body.code });
  const seconds = Number(response.headers['retry-after']);
  return new FairleadError(error.code, error.message, {
    ...(Number.isFinite(seconds) ? { retryAfterSeconds: seconds } : {}),
    ...(isRepeat(body.repeat) ? { repeat: body.repeat } : {}),
  });
}

function isRepeat(value: unknown): value is Repeat {
  return value === 'safe' || value === 'with-key' || value === 'unknown';
}

function parseProblem(text: string): { code: string; detail?: string; title?: string; repeat?: unknown } | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value?.code === 'string' ? value : undefined;
  } catch {
    return undefined; // a proxy's page, not ours: the caller falls back to the status
  }
}

async function readBody(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const gathered = new Gathered(maxBytes);
  for await (const chunk of response as AsyncIterable<Buffer>) {
    if (gathered.add(chunk)) continue;
    response.destroy();
    throw new CliError(`the server's answer is larger than ${maxBytes} bytes`);
  }
  return gathered.bytes();
}
