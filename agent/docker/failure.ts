/** What went wrong with Docker, as FairleadErrors that say what to do: broken connections and error answers. */
import { type ErrorCode, FairleadError } from '../../shared/errors.ts';

/** The longest text that is taken over from Docker, in characters. */
const MAX_DOCKER_TEXT_CHARS = 900;

/** Why a connection to Docker's socket could not be made. */
const NOT_CONNECTED: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no socket: Docker is not installed, not running, or has its socket elsewhere'],
  ['EACCES', "no permission: run the agent as root or add its user to the socket's group"],
  ['EPERM', "no permission: run the agent as root or add its user to the socket's group"],
  ['ECONNREFUSED', 'connection refused: nothing listens there, Docker is stopped'],
  ['ENOTFOUND', 'the name cannot be resolved'],
  ['EAI_AGAIN', 'the name cannot be resolved now'],
  ['EHOSTUNREACH', 'no route to that address'],
  ['ENETUNREACH', 'no route to that address'],
  ['EHOSTDOWN', 'that machine is down'],
  ['ENOTSOCK', 'that path is not a socket'],
  ['ENOTDIR', 'that path is not a socket'],
]);

/** Errors of a connection that had been made. */
const BROKEN = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'ETIMEDOUT', 'ERR_STREAM_PREMATURE_CLOSE']);

/** What Node says of a failed system call. */
function systemError(error: unknown): { code: string; syscall: string } {
  // A name with several addresses fails with one error for each.
  if (error instanceof AggregateError && error.errors.length > 0) return systemError(error.errors[0]);
  if (!(error instanceof Error)) return { code: '', syscall: '' };
  const { code, syscall } = error as NodeJS.ErrnoException;
  return { code: code ?? '', syscall: syscall ?? '' };
}

/** The FairleadError for a failed or broken connection to Docker, or undefined when `error` is none. */
export function connectionFailure(error: unknown, address: string): FairleadError | undefined {
  const { code, syscall } = systemError(error);
  const why = NOT_CONNECTED.get(code);
  if (why !== undefined) return unreachable(address, why, error);
  if (BROKEN.has(code)) return unreachable(address, 'it broke off the connection', error);
  if (code.startsWith('HPE_')) return unreachable(address, 'what answers there does not speak HTTP', error);
  if (syscall !== '') return unreachable(address, `${syscall} failed with ${code}`, error);
  return undefined;
}

/** @param why continues the sentence "Docker is not reachable at ADDRESS: " */
export function unreachable(address: string, why: string, cause?: unknown): FairleadError {
  return new FairleadError('DOCKER_UNREACHABLE', `Docker is not reachable at ${address}: ${why}`, { cause });
}

/** Whether a call that ended with `error` certainly never got to Docker, so that it can be tried again. */
export function neverSent(error: unknown): boolean {
  return error instanceof FairleadError && ['connect', 'getaddrinfo'].includes(systemError(error.cause).syscall);
}

const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [400, 'VALIDATION'],
  // Docker's word for what its own state forbids: to remove a network of its own, for one, or to connect a container twice.
  [403, 'CONFLICT'],
  [409, 'CONFLICT'],
  [501, 'UNSUPPORTED'],
]);

/** The FairleadError for an error answer of Docker's; `body` is what it sent. */
export function answerFailure(status: number, body: string): FairleadError {
  const text = dockerText(body) || `HTTP status ${status}`;
  if (status !== 404) return new FairleadError(CODES.get(status) ?? 'DOCKER_ERROR', text);
  // A start answers 404 for a missing network or image too.
  return new FairleadError(/no such container/i.test(text) ? 'CONTAINER_NOT_FOUND' : 'NOT_FOUND', text);
}

function dockerText(body: string): string {
  let text = body;
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === 'object' && value !== null && 'message' in value) text = String(value.message);
  } catch {
    // Not JSON: proxies before Docker and the oldest versions answer with plain text.
  }
  text = text.trim();
  return text.length > MAX_DOCKER_TEXT_CHARS ? `${text.slice(0, MAX_DOCKER_TEXT_CHARS)}…` : text;
}
