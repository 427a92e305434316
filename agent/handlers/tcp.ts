/** Handler of tcp.open: a connection to a port of a container, or of the host, where the host's policy names it. */
import { isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { Clock, Timer } from '../../shared/clock.ts';
import { dockerPath } from '../../shared/docker/call.ts';
import { asObject, type DockerObject } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { tcpOpen } from '../../shared/messages/tcp.ts';
import { pump } from '../../shared/pump.ts';
import { targetDenied } from '../../shared/tcp-targets.ts';
import { dial } from '../tcp/dial.ts';
import type { Handler, HandlerContext } from './handler.ts';

const LOOPBACK = '127.0.0.1';
/** How long what has ended its own half may take nothing of what waits for it. */
const STANDSTILL_MS = 120_000;

export const handleTcpOpen: Handler<typeof tcpOpen> = async (stream, context) => {
  const { params, bytes, aborted } = stream;
  const { container, port } = params;
  const addresses =
    container === undefined ? hostAddresses(port, context) : await containerAddresses(params, context, aborted);
  const what = container === undefined ? `port ${port} of the host` : `port ${port} of the container ${container}`;
  const socket = await dial({ addresses, port, what, clock: context.docker.clock, signal: aborted });
  try {
    stream.sendReply({});
    await join(bytes, socket, { what, clock: context.docker.clock, signal: aborted });
    socket.destroy();
  } catch (error) {
    // Not by its end: who reads there must not take what it has for the whole.
    socket.resetAndDestroy();
    aborted.throwIfAborted();
    if (isFairleadError(error)) throw error;
    throw new FairleadError('STREAM_INTERRUPTED', `${what} broke off the connection`, { cause: error });
  }
};

interface JoinOptions {
  /** How errors name the target. */
  readonly what: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Copies both ways, and ends each half as its source ends. @throws FairleadError TIMEOUT */
async function join(bytes: Duplex, socket: Socket, { what, clock, signal }: JoinOptions): Promise<void> {
  const inbound = pump(bytes, socket, signal).then(() => {
    socket.end();
    return finished(socket, { readable: false, signal });
  });
  const { promise: standstill, reject } = Promise.withResolvers<never>();
  const late = new FairleadError('TIMEOUT', `${what} took nothing of what was sent for ${STANDSTILL_MS / 1000} s`);
  const outbound = pump(socket, bytes, signal).then(() => {
    bytes.end();
    // From here on the stream may be over for its opener, with what the socket holds still to be taken: it tells of nothing more.
    const unwatch = watchReader(socket, clock, () => reject(late));
    return inbound.finally(unwatch);
  });
  await Promise.race([Promise.all([inbound, outbound]), standstill]);
}

/** Calls `stands` once nothing was taken of what waits in `socket`. @returns what ends the watch */
function watchReader(socket: Socket, clock: Clock, stands: () => void): () => void {
  const state = () => ({ waiting: socket.writableLength, taken: socket.bytesWritten - socket.writableLength });
  let timer: Timer;
  const watch = () => {
    const before = state();
    timer = clock.setTimeout(() => {
      const now = state();
      const isStanding = before.waiting > 0 && now.waiting > 0 && now.taken === before.taken;
      if (isStanding) stands();
      else watch();
    }, STANDSTILL_MS);
  };
  watch();
  return () => timer.cancel();
}

function hostAddresses(port: number, { permitsTarget }: HandlerContext): string[] {
  const target = { container: undefined, port };
  if (permitsTarget?.(target) !== true) throw targetDenied(target);
  return [LOOPBACK];
}

/** @throws FairleadError DENIED_BY_HOST, CONFLICT (it does not run, or has no address of its own), CONTAINER_NOT_FOUND, … */
async function containerAddresses(
  { container: id = '', port }: { readonly container?: string; readonly port: number },
  { docker, permitsTarget }: HandlerContext,
  signal: AbortSignal,
): Promise<string[]> {
  const found = asObject(await docker.json({ method: 'GET', path: dockerPath`/containers/${id}/json`, signal }));
  // By the name that Docker has, whatever the caller calls it.
  const name = String(found['Name']).replace(/^\//, '');
  const target = { container: name, port };
  if (permitsTarget?.(target) !== true) throw targetDenied(target);
  if (asObject(found['State'])['Running'] !== true) {
    throw new FairleadError('CONFLICT', `the container ${name} does not run: start it first`);
  }
  const addresses = addressesIn(found);
  if (addresses.length === 0) {
    throw new FairleadError(
      'CONFLICT',
      `the container ${name} has no network address of its own: ask for a port of the host, or of the container whose ` +
        'network it uses',
    );
  }
  return addresses;
}

function addressesIn(container: DockerObject): string[] {
  const networks = asObject(asObject(container['NetworkSettings'])['Networks'] ?? {});
  return Object.values(networks)
    .map((network) => (typeof network === 'object' && network !== null ? (network as DockerObject) : {}))
    .flatMap(({ IPAddress, GlobalIPv6Address }) => [IPAddress, GlobalIPv6Address])
    .filter((address): address is string => typeof address === 'string' && isIP(address) !== 0);
}
