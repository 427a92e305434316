/** Opens the WebSocket to the server: mutual TLS 1.3, the enrolled CA alone, the server's fixed name. */
import type { IncomingMessage } from 'node:http';
import type { Agent } from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { ERRORS, type ErrorCode, FairleadError } from '../../shared/errors.ts';
import { HELLO_TIMEOUT_MS } from '../../shared/limits.ts';
import { SUBPROTOCOL } from '../../shared/messages/index.ts';
import { WS_OPTIONS } from '../../shared/mux/ws-transport.ts';
import { explainNetworkError } from '../../shared/network-errors.ts';
import { pinnedTls, UnreachableError } from '../../shared/pinned-http.ts';
import type { Identity } from '../identity/state-dir.ts';
import { givenUp, whenOpen } from './when-open.ts';

const MAX_REFUSAL_BYTES = 16 * 1024;

export interface DialOptions {
  readonly identity: Identity;
  /** Goes through a proxy where one is configured. Must not keep connections or TLS sessions. */
  readonly httpsAgent: Agent;
  readonly signal?: AbortSignal;
  /** Time for DNS, TCP, TLS and the upgrade, each attempt in all. */
  readonly timeoutMs?: number;
}

/**
 * Connects. @returns an open WebSocket that speaks fairlead.v1
 * @throws UnreachableError, or FairleadError with the code that the server refused this agent with
 */
export function dial(options: DialOptions): Promise<WebSocket> {
  const { identity, httpsAgent, signal } = options;
  const target = identity.record.agentUrl;
  if (signal?.aborted) return Promise.reject(givenUp(signal));
  let socket: Socket | undefined;
  const ws = new WebSocket(target, [SUBPROTOCOL], {
    ...WS_OPTIONS,
    ...pinnedTls(identity.caPem, INTERNAL_SERVER_NAME),
    cert: identity.certPem,
    key: identity.keyPem,
    agent: httpsAgent,
    handshakeTimeout: options.timeoutMs ?? HELLO_TIMEOUT_MS,
    followRedirects: false,
    finishRequest: (request) => {
      request.once('socket', (opened) => {
        socket = opened;
      });
      request.end();
    },
  });
  return whenOpen(ws, {
    ...(signal === undefined ? {} : { signal }),
    explain: (error) => unreachable(error, target, socket),
    refusal: (response) => readRefusal(response, target),
  });
}

function unreachable(error: Error, target: string, socket: Socket | undefined): UnreachableError {
  const { failure, message } = explainNetworkError(error, target);
  if (failure !== 'closed' || !(socket instanceof TLSSocket) || !socket.authorized) {
    return new UnreachableError(failure, message, error);
  }
  // A server that does not accept a certificate closes without a word: the handshake is over before it has looked.
  const guess = "it does not accept this host's certificate, which it may find expired or not its own";
  return new UnreachableError(
    failure,
    `${target} closed the connection right after the TLS handshake: ${guess}`,
    error,
  );
}

/** The error that an HTTP answer stands for. A problem with a code this version knows keeps it. */
async function readRefusal(response: IncomingMessage, target: string): Promise<FairleadError> {
  const status = response.statusCode ?? 0;
  const problem = await readProblem(response);
  if (problem !== undefined) {
    const retryAfterSeconds = Number(response.headers['retry-after'] ?? Number.NaN);
    const options = Number.isFinite(retryAfterSeconds) ? { retryAfterSeconds } : {};
    return new FairleadError(problem.code, `refused by the server: ${problem.detail}`, options);
  }
  return new UnreachableError('other', `${target} answers ${status} instead of a Fairlead session`);
}

async function readProblem(response: IncomingMessage): Promise<{ code: ErrorCode; detail: string } | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_REFUSAL_BYTES) return undefined;
      chunks.push(chunk);
    }
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    if (typeof body !== 'object' || body === null || !('code' in body) || typeof body.code !== 'string')
      return undefined;
    if (!Object.hasOwn(ERRORS, body.code)) return undefined;
    const code = body.code as ErrorCode;
    return { code, detail: 'detail' in body && typeof body.detail === 'string' ? body.detail : ERRORS[code].title };
  } catch {
    // Cut off, or no JSON: then the status alone has to tell.
    return undefined;
  }
}
