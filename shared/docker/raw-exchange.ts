/**
 * A client's own request, put to Docker as it is, and Docker's answer as it is. How bodies are framed is said here anew, and
 * never taken from the client: bytes behind a body would be a request that nobody has judged.
 */
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { FairleadError } from '../errors.ts';
import { outliveStdin } from './connection.ts';
import { endToEnd, type HeaderPair, isHopByHop } from './headers.ts';

const TCP_KEEPALIVE_MS = 15_000;
/** What Docker calls the bytes of a connection that it hands over. */
const BARE_STREAM = /^application\/vnd\.docker\.(raw|multiplexed)-stream\b/;
/** What is said here alone. */
const OWN_HEADERS: ReadonlySet<string> = new Set(['host', 'content-length', 'expect']);

/** An HTTP server that passes on to Docker what it is asked. */
export interface HttpDoor {
  /** Where it is, what it is known by, and the connections to it. */
  readonly options: https.RequestOptions;
  readonly isTls: boolean;
  /** What it is called in `Host`. */
  readonly authority: string;
  /** What it wants to see beside Docker's own headers. */
  readonly headers: readonly HeaderPair[];
  /** Whether a connection serves more than one request. */
  readonly keepsAlive: boolean;
}

/** How Docker is reached. */
export type DockerTarget =
  | ({ readonly socketPath: string } & Reuse)
  | ({ readonly host: string; readonly port: number } & Reuse)
  | { readonly door: HttpDoor };

interface Reuse {
  /** Keeps connections for later reads. Whatever changes something has one of its own: nobody knows if one that broke did it. */
  readonly reads?: http.Agent;
}

export interface RawRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly HeaderPair[];
  /** How a body follows: not, in chunks, or so many bytes. */
  readonly body: 'none' | 'chunked' | number;
  /** The protocol of the upgrade that is asked for. */
  readonly protocol?: string;
}

/** Both halves of a connection that Docker has handed over. */
export interface BareConnection {
  readonly source: Readable;
  readonly sink: Writable;
}

export interface RawAnswer {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeaderPair[];
  /** Absent where the connection was handed over. */
  readonly body?: IncomingMessage;
  readonly connection?: BareConnection;
}

export interface RawExchange {
  /** The request's body goes in here. */
  readonly body: Writable;
  /** From the moment that its head has come. Rejects with what the connection fails with. */
  readonly answer: Promise<RawAnswer>;
  /** Resolves once it is over, with the connection that was handed over. */
  readonly ended: Promise<void>;
  /** Ends it in both directions, a connection that was handed over as well. Idempotent. */
  destroy(): void;
}

/** @throws FairleadError MESSAGE_INVALID for a header that would say how the request is framed */
export function beginExchange(target: DockerTarget, request: RawRequest): RawExchange {
  const { method, target: path } = request;
  const door = 'door' in target ? target.door : undefined;
  const { request: ask } = door?.isTls === true ? https : http;
  const reads = isPlainRead(request) && 'reads' in target ? target.reads : undefined;
  const keepsAlive = door?.keepsAlive ?? reads !== undefined;
  const headers = headersOf(request, door, keepsAlive);
  const client = ask({ ...optionsOf(target), ...(reads && { agent: reads }), method, path, headers });
  client.once('socket', (socket) => {
    // A connection over TCP whose other end vanished would stay open without a word.
    if (!('socketPath' in target)) socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  });
  const answer = answerOf(client, request);
  if (request.body === 'none') client.end();
  else client.flushHeaders();
  let bareSocket: Socket | undefined;
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  client.once('upgrade', (_head, socket) => {
    bareSocket = socket;
    socket.once('close', resolve);
  });
  client.once('close', () => bareSocket ?? resolve());
  const destroy = () => {
    client.destroy();
    bareSocket?.destroy();
  };
  return { body: client, answer, ended, destroy };
}

function isPlainRead({ method, body, protocol }: RawRequest): boolean {
  return (method === 'GET' || method === 'HEAD') && body === 'none' && protocol === undefined;
}

function optionsOf(target: DockerTarget): https.RequestOptions {
  if ('door' in target) return target.door.options;
  if ('socketPath' in target) return { socketPath: target.socketPath, agent: false };
  return { host: target.host, port: target.port, agent: false };
}

function headersOf(
  { method, headers, body, protocol }: RawRequest,
  door: HttpDoor | undefined,
  keepsAlive: boolean,
): string[] {
  const foreign = headers.find(([name]) => isHopByHop(name) || OWN_HEADERS.has(name.toLowerCase()));
  if (foreign !== undefined) {
    throw new FairleadError('MESSAGE_INVALID', `the header ${foreign[0]} is not passed on to Docker`);
  }
  const isEmpty = body === 'none' && method !== 'GET' && method !== 'HEAD';
  const framing =
    body === 'chunked' ? ['Transfer-Encoding', 'chunked'] : ['Content-Length', String(body === 'none' ? 0 : body)];
  return [
    ...['Host', door?.authority ?? 'docker'],
    ...headers.flat(),
    ...(door?.headers.flat() ?? []),
    ...(body === 'none' && !isEmpty ? [] : framing),
    ...connectionOf(protocol, keepsAlive),
  ];
}

function connectionOf(protocol: string | undefined, keepsAlive: boolean): string[] {
  if (protocol !== undefined) return ['Connection', 'Upgrade', 'Upgrade', protocol];
  return ['Connection', keepsAlive ? 'keep-alive' : 'close'];
}

function answerOf(client: ClientRequest, { protocol }: RawRequest): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    // Stays: the request's half may fail when the answer has long begun.
    client.on('error', reject);
    client.once('close', () => reject(new FairleadError('DOCKER_ERROR', 'Docker gave no answer')));
    client.once('upgrade', (head, socket, first) => {
      if (first.byteLength > 0) socket.unshift(first);
      resolve({ ...headOf(head), connection: bare(socket, socket) });
    });
    client.once('response', (message) => {
      // Engines that know no 101 hand the connection over with 200.
      const isBare = protocol !== undefined && isBareAnswer(message);
      if (isBare) resolve({ ...headOf(message), connection: bare(message, message.socket) });
      else resolve({ ...headOf(message), body: message });
    });
  });
}

function headOf(message: IncomingMessage): Pick<RawAnswer, 'status' | 'reason' | 'headers'> {
  const { statusCode = 0, statusMessage = '', rawHeaders } = message;
  return { status: statusCode, reason: statusMessage, headers: endToEnd(rawHeaders) };
}

function isBareAnswer({ statusCode, headers }: IncomingMessage): boolean {
  const isFramed = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
  return statusCode === 200 && !isFramed && BARE_STREAM.test(headers['content-type'] ?? '');
}

function bare(source: Readable, socket: Socket): BareConnection {
  outliveStdin(socket);
  // Whoever reads or writes it asks for `errored`; without a listener a late failure would end the agent.
  socket.on('error', () => undefined);
  return { source, sink: socket };
}
