/** Makes the connections that `tcp.open` asks for. */
import { createConnection, type Socket } from 'node:net';
import type { Clock } from '../../shared/clock.ts';
import { outliveStdin } from '../../shared/docker/connection.ts';
import { FairleadError } from '../../shared/errors.ts';

/** How long a connection may take to be made, over all addresses. */
const CONNECT_MS = 10_000;
/** How soon a connection whose other end has vanished is probed. */
const KEEP_ALIVE_PROBE_MS = 15_000;

const WHY: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'nothing listens there'],
  ['EHOSTUNREACH', 'there is no route to it'],
  ['ENETUNREACH', 'there is no route to it'],
  ['EACCES', 'the host does not let the agent connect to it'],
  ['EPERM', 'the host does not let the agent connect to it'],
  ['ECONNRESET', 'it was closed at once'],
]);

export interface DialOptions {
  /** IP addresses, tried in this order. At least one. */
  readonly addresses: readonly string[];
  readonly port: number;
  /** How errors name the target. */
  readonly what: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * A connection whose halves end by themselves: the end of one is not the end of the other.
 * @throws FairleadError CONNECTION_REFUSED, TIMEOUT, or the reason of the signal
 */
export async function dial({ addresses, port, what, clock, signal }: DialOptions): Promise<Socket> {
  const abort = new AbortController();
  const late = new FairleadError('TIMEOUT', `${what} did not accept the connection within ${CONNECT_MS / 1000} s`);
  const timer = clock.setTimeout(() => abort.abort(late), CONNECT_MS);
  const onAbort = () => abort.abort(signal.reason);
  signal.addEventListener('abort', onAbort);
  try {
    signal.throwIfAborted();
    let failure: unknown;
    for (const host of addresses) {
      try {
        return await connected(host, port, abort.signal);
      } catch (error) {
        abort.signal.throwIfAborted();
        failure ??= error;
      }
    }
    throw refused(what, failure);
  } finally {
    timer.cancel();
    signal.removeEventListener('abort', onAbort);
  }
}

async function connected(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  const socket = createConnection({ host, port, allowHalfOpen: true, noDelay: true });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(signal.reason);
  // Stays: whoever reads or writes it asks for `errored`; without a listener a late failure would end the agent.
  socket.on('error', reject);
  socket.once('connect', resolve);
  signal.addEventListener('abort', onAbort);
  try {
    await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
  outliveStdin(socket);
  return socket;
}

function refused(what: string, cause: unknown): FairleadError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const why = WHY.get(code) ?? `connecting failed${code === '' ? '' : ` with ${code}`}`;
  return new FairleadError('CONNECTION_REFUSED', `${what} cannot be reached: ${why}`, { cause });
}
