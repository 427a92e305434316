/** Kinds that carry plain TCP connections. Codes 0x0800 to 0x08ff. */
import Type from 'typebox';
import { ContainerRef } from './container.ts';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
export const Port = Type.Integer({ minimum: 1, maximum: 65_535 });

/**
 * A connection to a port: the opener's bytes go into it, END closes that half; the acceptor's are what comes out. A
 * connection that is broken off resets the stream, and a stream that is reset breaks off the connection.
 */
export const tcpOpen = {
  code: 0x0800,
  name: 'tcp.open',
  from: 'server',
  role: 'operator',
  policy: 'connect',
  priority: 'bulk',
  params: Type.Object(
    {
      /** By the address that it has in Docker's networks; absent: the host itself, at 127.0.0.1. */
      container: Type.Optional(ContainerRef),
      port: Port,
    },
    closed,
  ),
  reply: Type.Object({}, closed),
  bytes: 'both',
} as const satisfies StreamKind;
