/** Where connections come from: their own peer, or what the balancer in front of them says. */
import type { Socket } from 'node:net';

/** What TCP and TLS sockets of one connection have in common. */
export type Endpoint = Pick<Socket, 'remoteAddress' | 'remotePort'>;

/** The real sender of a connection that comes through a balancer. */
export interface Source {
  readonly address: string;
  readonly port: number;
}

/** The keys of sockets that no longer show their own peer. */
const keys = new WeakMap<Endpoint, string>();

/** Names the TCP connection under a socket: the same for its TCP and its TLS socket, whatever address they show. */
export function connectionKey(socket: Endpoint): string {
  return keys.get(socket) ?? `${socket.remoteAddress} ${socket.remotePort}`;
}

/** Has `socket` show `source` as its remote address from now on, to whoever asks: rate limits, logs, the audit log. */
export function showSource(socket: Endpoint, { address, port }: Source): void {
  keys.set(socket, connectionKey(socket));
  const family = address.includes(':') ? 'IPv6' : 'IPv4';
  // Node's own are getters of the prototype, which ask the connection.
  Object.defineProperties(socket, {
    remoteAddress: { value: address, configurable: true },
    remotePort: { value: port, configurable: true },
    remoteFamily: { value: family, configurable: true },
  });
}
