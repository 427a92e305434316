/** Ends connections that are no longer HTTP's so that nobody takes it for a clean end. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { connectionUnder } from '../mesh/peer-identity.ts';

/**
 * Resets the connection. Under TLS as well it is TCP's: of an end that TLS itself has not announced Go's clients, Docker's CLI
 * among them, think nothing as long as no record is cut in two.
 * @param stream what HTTP has made of `socket`
 */
export function breakOff(stream: Duplex, socket: Socket): void {
  const connection = socket instanceof TLSSocket ? connectionUnder(socket) : socket;
  if (connection === undefined || connection.destroyed) stream.destroy();
  // The other end may have reset it just now.
  else connection.on('error', () => undefined).resetAndDestroy();
}
