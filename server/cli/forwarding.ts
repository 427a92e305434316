/** A port of this machine whose connections go on as WebSockets, each to the same port of a container or a host. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { FairleadError } from '../../shared/errors.ts';
import { type ApiClient, path } from './api-client.ts';
import { CliError, describeError, systemCode } from './errors.ts';
import { lossOf } from './server-watch.ts';
import { bytesOf, deliver, readControl, send } from './socket.ts';

/** Connections of one port at once; the others wait for their turn in the system, or are dropped. */
const MAX_CONNECTIONS = 256;

export interface Forward {
  /** 0: any that is free. */
  readonly localPort: number;
  /** Undefined: the host itself. */
  readonly container: string | undefined;
  readonly port: number;
}

export interface ForwardTarget {
  readonly api: ApiClient;
  readonly host: string;
  /** The address to listen at. */
  readonly bind: string;
  /** Is told why a connection failed. */
  readonly report: (text: string) => void;
}

export interface Listener {
  /** `address:port`. */
  readonly address: string;
  /** Listens no more, and breaks off what is connected. Idempotent. */
  close(): void;
}

/** @throws CliError when the port cannot be listened at */
export async function listenFor(forward: Forward, target: ForwardTarget): Promise<Listener> {
  const { bind, report } = target;
  const sockets = new Set<Socket>();
  let isClosed = false;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    void carry(socket, forward, target).catch((error: unknown) => {
      socket.resetAndDestroy();
      if (!isClosed) report(`${addressOf(server.address())}: ${describeError(error)}`);
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  try {
    server.listen(forward.localPort, bind);
    await once(server, 'listening');
  } catch (error) {
    const why = systemCode(error) === 'EADDRINUSE' ? 'something listens there already' : `${systemCode(error)}`;
    throw new CliError(`cannot listen at ${bind}:${forward.localPort}: ${why}`, { cause: error });
  }
  return {
    address: addressOf(server.address()),
    close() {
      isClosed = true;
      server.close();
      for (const socket of sockets) socket.resetAndDestroy();
    },
  };
}

function addressOf(address: AddressInfo | string | null): string {
  if (address === null || typeof address === 'string') return 'a closed port';
  return address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
}

/** Carries one connection to its end. @throws FairleadError why it was refused, or broke off */
async function carry(local: Socket, { container, port }: Forward, { api, host }: ForwardTarget): Promise<void> {
  // A client that breaks off is nobody's business.
  local.on('error', () => undefined);
  const query = { container, port };
  const socket = await api.socket(path`/api/v1/hosts/${host}/tcp`, { query });
  if (local.destroyed) return socket.terminate();
  await join(local, socket);
}

/** Joins both until each has ended both ways, or one is gone. */
async function join(local: Socket, socket: WebSocket): Promise<void> {
  const { promise: closed, resolve } = Promise.withResolvers<number>();
  let failure: FairleadError | undefined;
  socket.on('message', (data, isBinary) => {
    const message = bytesOf(data);
    if (isBinary) return deliver(socket, local, message);
    const control = readControl(message);
    failure ??= control.failure;
    if (control.end) local.end();
  });
  socket.once('close', resolve);
  local.once('close', () => {
    // Both of its halves may have ended in order: then the server closes as soon as it has heard so.
    if (!local.readableEnded || !local.writableFinished) socket.terminate();
  });
  forwardBytes(local, socket);
  const code = await closed;
  if (failure !== undefined) throw failure;
  if (code !== 1000 && !local.destroyed) throw lossOf(socket, 'the connection to the server was lost');
}

/** Sends what comes, piece by piece: the next is read once the one before is on its way. */
function forwardBytes(local: Socket, socket: WebSocket): void {
  local.on('data', (chunk: Buffer) => {
    local.pause();
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(chunk, (error) => {
      if (!error && !local.destroyed) local.resume();
    });
  });
  local.once('end', () => send(socket, { end: true }));
  local.resume();
}
