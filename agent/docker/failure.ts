/** What went wrong with connections to Docker, as FairleadErrors that say what to do. */
import { FairleadError } from '../../shared/errors.ts';

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
