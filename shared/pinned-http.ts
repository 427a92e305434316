/** HTTPS to a server whose CA is known by its pin: one fetch that trusts nobody, and exchanges that trust that CA alone. */
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { FairleadError } from './errors.ts';
import { explainNetworkError, type NetworkFailure } from './network-errors.ts';

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_MAX_BYTES = 1024 * 1024;

/** TLS options that trust one CA and one name, whatever the environment says. For requests and WebSockets alike. */
export interface PinnedTls {
  readonly ca: string;
  readonly servername: string;
  readonly rejectUnauthorized: true;
  readonly minVersion: 'TLSv1.3';
}

/** The https options for a connection that trusts `ca` alone and the server's fixed name, whatever address is dialled. */
export function pinnedTls(ca: string, servername: string): PinnedTls {
  // Said outright: NODE_TLS_REJECT_UNAUTHORIZED must not be able to turn verification off.
  return { ca, servername, rejectUnauthorized: true, minVersion: 'TLSv1.3' };
}

export interface PinnedRequest {
  readonly url: string;
  readonly method: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** The one CA that is trusted, as PEM. */
  readonly ca: string;
  /** The name the server's certificate must carry. */
  readonly servername: string;
  /** A certificate to be known by, and its key, as PEM. */
  readonly client?: { readonly cert: string; readonly key: string };
  /** An agent that goes through a proxy, for instance; it must not keep connections alive. */
  readonly agent?: https.Agent;
  readonly signal?: AbortSignal;
  /** Time for the whole exchange, 30 s unless given. */
  readonly timeoutMs?: number;
  /** The largest answer that is read, 1 MiB unless given. */
  readonly maxBytes?: number;
}

export interface PinnedAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  /** The parsed JSON; the text if it is none; undefined if the body is empty. */
  readonly body: unknown;
}

/** A request that got no usable answer. `failure` says what stood in the way. */
export class UnreachableError extends FairleadError {
  readonly failure: NetworkFailure;

  constructor(failure: NetworkFailure, message: string, cause?: unknown) {
    super(failure === 'timeout' ? 'TIMEOUT' : 'SERVER_UNREACHABLE', message, { cause });
    this.failure = failure;
  }
}

/**
 * GETs `${url}/ca.pem` without trusting the peer: the caller must compare the pin before it uses the answer.
 * @throws UnreachableError, FairleadError VALIDATION (not an https URL), PAYLOAD_TOO_LARGE, CANCELLED
 */
export async function fetchUntrusted(
  url: string,
  options: { agent?: https.Agent; signal?: AbortSignal; timeoutMs?: number; maxBytes: number },
): Promise<string> {
  const target = under(url, '/ca.pem');
  const { status, text } = await exchange(target, { method: 'GET', rejectUnauthorized: false }, undefined, options);
  if (status !== 200) {
    throw new UnreachableError('other', `${target.origin} is no Fairlead server: it answers ${status} to GET /ca.pem`);
  }
  return text;
}

/**
 * One JSON exchange over a NEW connection that trusts `ca` alone and the server's fixed internal name.
 * Redirects are not followed; every status is an answer.
 * @throws UnreachableError, FairleadError VALIDATION (not an https URL), PAYLOAD_TOO_LARGE, CANCELLED
 */
export async function requestPinned(options: PinnedRequest): Promise<PinnedAnswer> {
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
  if (body !== undefined) {
    headers['content-type'] = 'application/json';
    headers['content-length'] = String(Buffer.byteLength(body));
  }
  const request = { method: options.method, headers, ...pinnedTls(options.ca, options.servername), ...options.client };
  const { text, ...answer } = await exchange(httpsUrl(options.url), request, body, options);
  return { ...answer, body: parseBody(text) };
}

/** The https URL of `path` below `base`, whose own path is kept. */
function under(base: string, path: string): URL {
  const url = httpsUrl(base);
  url.pathname = url.pathname.replace(/\/+$/, '') + path;
  return url;
}

/** @throws FairleadError VALIDATION unless `text` is an https URL without credentials. */
export function httpsUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== 'https:' || url.hostname === '') {
    throw new FairleadError('VALIDATION', 'the server must be given as an https:// URL, as in https://fairlead:8440');
  }
  if (url.username !== '' || url.password !== '') {
    throw new FairleadError('VALIDATION', "the server's URL must not carry a user name or a password");
  }
  url.hash = '';
  return url;
}

interface ExchangeOptions {
  readonly agent?: https.Agent;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  readonly maxBytes?: number;
}

interface ExchangeAnswer {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
}

async function exchange(
  url: URL,
  request: https.RequestOptions,
  body: string | undefined,
  options: ExchangeOptions,
): Promise<ExchangeAnswer> {
  const timeout = AbortSignal.timeout(options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
  // Neither a pooled connection nor a resumed TLS session: either could stem from one that was not verified this way.
  const agent = options.agent ?? new https.Agent({ keepAlive: false, maxCachedSessions: 0 });
  try {
    const response = await send(url, { ...request, agent, signal }, body);
    const text = await readText(response, options.maxBytes ?? DEFAULT_MAX_BYTES);
    return { status: response.statusCode ?? 0, headers: response.headers, text };
  } catch (error) {
    if (error instanceof FairleadError) throw error;
    if (options.signal?.aborted) throw new FairleadError('CANCELLED', 'the request was given up', { cause: error });
    const { failure, message } = explainNetworkError(timeout.aborted ? timeout.reason : error, url.origin);
    throw new UnreachableError(failure, message, error);
  }
}

function send(url: URL, request: https.RequestOptions, body: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = https.request(url, request, resolve);
    // Kept for good: an error after the answer shows as the answer's own, and must not end the process here.
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

async function readText(response: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new FairleadError('PAYLOAD_TOO_LARGE', `the server's answer is larger than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseBody(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}
