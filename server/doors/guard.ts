/** Puts a door before an HTTP or HTTPS server that listens by itself. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { type TLSSocket, Server as TlsServer } from 'node:tls';
import { Door, type DoorOptions } from './door.ts';

/**
 * Has every connection to `server` pass a door, from which the first request (or upgrade) lets it go. To be called before
 * anybody else listens for its connections.
 */
export function guardServer(server: Server, options: Omit<DoorOptions, 'begin'>): Door {
  const listeners = server.listeners('connection');
  const isTls = (server as unknown) instanceof TlsServer;
  const door = new Door({
    ...options,
    begin: (socket) => {
      // Over TLS its own socket shows it, once there is one.
      door.secured(socket);
      for (const listener of listeners) Reflect.apply(listener, server, [socket]);
      // TLS reads what came while it waited; HTTP has to be told that reading goes on.
      if (!isTls) socket.resume();
    },
  });
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => door.enter(socket));
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    door.secured(socket);
    door.shaken(socket);
  });
  server.prependListener('tlsClientError', (error: Error, socket: TLSSocket) => {
    options.log.debug({ err: error, address: door.addressOf(socket) }, 'TLS handshake refused');
    socket.destroy();
  });
  server.on('request', ({ socket }) => door.leave(socket));
  server.on('upgrade', (_request, socket) => door.leave(socket as Socket));
  server.on('close', () => door.close());
  return door;
}
