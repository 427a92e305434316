/** An HTTP server on a socket of its own that answers as a test says: for what a healthy Engine does not do. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { DockerEngine } from '../../../../agent/docker/engine.ts';
import { type Clock, systemClock } from '../../../../shared/clock.ts';
import type { HostPolicy } from '../../../../shared/messages/control.ts';
import { type Cleanup, defer, tempDir } from '../../../support/tmp.ts';

export const PERMISSIVE: HostPolicy = { allow: [], deny: [] };
export const SILENT: Pick<Logger, 'info' | 'warn'> = { info: () => undefined, warn: () => undefined };

export interface FakeDocker {
  readonly socket: string;
  readonly sockets: ReadonlySet<Socket>;
  /** Cuts all connections and stops listening, as when dockerd is killed. */
  kill(): Promise<void>;
  listen(): Promise<void>;
}

/** Takes over a connection that was handed over after its request. */
export type Hijacked = (connection: Socket, request: IncomingMessage) => void;

/** Answers /version itself. */
export async function fakeDocker(cleanup: Cleanup, answer: RequestListener, hijacked?: Hijacked): Promise<FakeDocker> {
  const socket = join(await tempDir(cleanup, 'docker'), 'docker.sock');
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/version')) response.end('{"Version":"99.0","ApiVersion":"9.9"}');
    else answer(request, response);
  });
  if (hijacked) {
    server.on('upgrade', (request, connection: Socket) => {
      connection.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
      hijacked(connection, request);
    });
  }
  server.on('connection', (connection) => {
    sockets.add(connection);
    connection.on('close', () => sockets.delete(connection)).on('error', () => undefined);
  });
  const fake: FakeDocker = {
    socket,
    sockets,
    listen: () => new Promise((resolve) => server.listen(socket, resolve)),
    kill: () => stop(server, sockets),
  };
  defer(cleanup, () => fake.kill());
  await fake.listen();
  return fake;
}

function stop(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    for (const connection of sockets) connection.destroy();
  });
}

/** An engine that has been asked once. */
export async function engineAt(
  cleanup: Cleanup,
  socket: string,
  clock: Clock = systemClock,
  policy: HostPolicy = PERMISSIVE,
): Promise<DockerEngine> {
  const engine = new DockerEngine({ socket, policy, clock, log: SILENT });
  defer(cleanup, () => engine.close());
  await engine.start();
  return engine;
}
