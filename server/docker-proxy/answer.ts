/** Passes Docker's answer to the client, from its head on: as it is, but for what no host may say in this server's name. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type HeaderPair, isHopByHop } from '../../shared/docker/headers.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { dockerRequest, dockerUpgrade } from '../../shared/messages/docker.ts';
import { pump } from '../../shared/pump.ts';
import type { LinkStream } from '../hosts/host-link.ts';

export type DockerStream = LinkStream<typeof dockerRequest> | LinkStream<typeof dockerUpgrade>;

/** What a browser would take for the word of this server, whose pages and cookies are on the same origin. */
const NOT_A_HOSTS: ReadonlySet<string> = new Set([
  'accept-ch',
  'alt-svc',
  'cache-control',
  'clear-site-data',
  'content-security-policy',
  'critical-ch',
  'link',
  'location',
  'nel',
  'origin-agent-cluster',
  'permissions-policy',
  'refresh',
  'report-to',
  'reporting-endpoints',
  'service-worker-allowed',
  'set-cookie',
  'set-login',
  'speculation-rules',
  'strict-transport-security',
  'www-authenticate',
  'x-content-type-options',
  'x-request-id',
]);
const CROSS_ORIGIN = /^(?:access-control-|cross-origin-)/;

/** What HTTP has for a name. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** What a host's page could do in a browser: nothing. */
const GUARDS: readonly HeaderPair[] = [
  ['x-content-type-options', 'nosniff'],
  ['content-security-policy', "default-src 'none'; sandbox"],
  ['cache-control', 'no-store'],
];

/** What HTTP has for a value, each character standing for one byte. */
export const FIELD = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * The headers of an answer as the client gets them.
 * @throws FairleadError DOCKER_ERROR for what would be read as something else
 */
export function answerHeaders(headers: readonly HeaderPair[], requestId: string): HeaderPair[] {
  if (!headers.every(([name, value]) => TOKEN.test(name) && FIELD.test(value))) throw noAnswer();
  return [...headers.filter(isAHosts), ...GUARDS, ['x-request-id', requestId]];
}

function isAHosts([name]: HeaderPair): boolean {
  const lower = name.toLowerCase();
  return !isHopByHop(lower) && !NOT_A_HOSTS.has(lower) && !CROSS_ORIGIN.test(lower);
}

/** The head of an answer, as the client gets it. */
export interface AnswerHead {
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly HeaderPair[];
  /** How long the body is; `open`: as long as it comes. */
  readonly length: number | 'open';
}

/** @throws FairleadError DOCKER_ERROR for an answer that HTTP does not have, or that is an upgrade */
export function answerHead({ reply }: DockerStream, requestId: string): AnswerHead {
  const { status, reason, headers, upgraded } = reply;
  const length = lengthOf(headers);
  if (status < 200 || upgraded || length === undefined || !FIELD.test(reason)) throw noAnswer();
  return { status, reason, length, headers: answerHeaders(headers, requestId) };
}

/** Sends an answer to its end. What fails breaks the connection off, so that no client takes what it has for the whole. */
export async function sendAnswer(
  { method }: Pick<IncomingMessage, 'method'>,
  response: ServerResponse,
  head: AnswerHead,
  stream: DockerStream,
  signal: AbortSignal,
): Promise<void> {
  const { status, reason, headers, length } = head;
  const { socket } = response;
  // The head leaves in this turn, and in one write with what of the body has come along with it.
  socket?.cork();
  setImmediate(() => socket?.uncork());
  try {
    response.writeHead(status, reason, headers.flat());
    response.flushHeaders();
    const hasBody = method !== 'HEAD' && status !== 204 && status !== 304;
    if (hasBody) await pump(stream.bytes, response, signal, length === 'open' ? undefined : length);
    else stream.bytes.resume();
    const { headers: trailers } = await stream.trailer;
    if (trailers.length > 0 && response.chunkedEncoding)
      response.addTrailers(trailers.filter(isTrailer).map(([...pair]) => pair));
    response.end();
  } catch (error) {
    socket?.uncork();
    response.destroy();
    throw error;
  }
}

/** What says how long an answer is must stand before it (RFC 9110, 6.5.1). */
function isTrailer(pair: HeaderPair): boolean {
  return isAHosts(pair) && pair[0].toLowerCase() !== 'content-length' && FIELD.test(pair[1]);
}

/** The length that the headers say; undefined if it is none, or more than one. */
function lengthOf(headers: readonly HeaderPair[]): number | 'open' | undefined {
  const said = headers.filter(([name]) => name.toLowerCase() === 'content-length');
  const [only] = said;
  if (only === undefined) return 'open';
  return said.length === 1 && /^\d{1,15}$/.test(only[1]) ? Number(only[1]) : undefined;
}

/** What a host says that no Docker does. */
export function noAnswer(): FairleadError {
  return new FairleadError('DOCKER_ERROR', 'the host passed on an answer of Docker that HTTP does not have');
}
