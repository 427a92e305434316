/**
 * The header of the PROXY protocol (haproxy.org, proxy-protocol.txt): read strictly, from what has come so far, without any
 * I/O. Version 2 is read here, the line of text of version 1 in proxy-line.ts.
 */
import { SocketAddress } from 'node:net';
import { MAX_PROXY_HEADER_BYTES } from './limits.ts';
import { PROXY_LINE_START, readProxyLine } from './proxy-line.ts';
import type { Source } from './source.ts';

/** Section 2.2: no text and no TLS record begins like this. */
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const FIXED_BYTES = 16;
const VERSION_2 = 0x2;
const COMMAND = { local: 0x0, proxy: 0x1 } as const;

/** The address blocks of section 2.2 that stand for a TCP connection, by the byte of family and transport. */
const UNSPECIFIED = 0x00;
const TCP_IPV4 = 0x11;
const TCP_IPV6 = 0x21;
const UNIX_STREAM = 0x31;
const BLOCK_BYTES: Readonly<Record<number, number>> = {
  [UNSPECIFIED]: 0,
  [TCP_IPV4]: 12,
  [TCP_IPV6]: 36,
  [UNIX_STREAM]: 216,
};

export type ProxyHeader =
  /** So far it may become one. */
  | { readonly state: 'incomplete' }
  /** No source: the connection is the balancer's own, or its sender has no IP address. */
  | { readonly state: 'complete'; readonly bytes: number; readonly source: Source | undefined }
  | { readonly state: 'malformed'; readonly reason: string };

const INCOMPLETE: ProxyHeader = { state: 'incomplete' };

/** What the first bytes of a connection are. Never throws. */
export function readProxyHeader(received: Uint8Array): ProxyHeader {
  const bytes = Buffer.from(received.buffer, received.byteOffset, received.byteLength);
  if (begins(bytes, SIGNATURE)) return readVersion2(bytes);
  if (begins(bytes, PROXY_LINE_START)) return readProxyLine(bytes);
  return malformed(
    'it does not begin with a PROXY header: have the balancer send one, or take it out of --proxy-protocol',
  );
}

/** Whether `bytes` are the beginning of what begins with `start`, as far as either goes. */
function begins(bytes: Buffer, start: Buffer): boolean {
  const known = Math.min(bytes.length, start.length);
  return bytes.subarray(0, known).equals(start.subarray(0, known));
}

function readVersion2(bytes: Buffer): ProxyHeader {
  if (bytes.length < FIXED_BYTES) return INCOMPLETE;
  const command = bytes.readUInt8(12);
  const kind = bytes.readUInt8(13);
  const rest = bytes.readUInt16BE(14);
  if (command >> 4 !== VERSION_2) return malformed(`version ${command >> 4} of the PROXY protocol is not known`);
  const total = FIXED_BYTES + rest;
  if (total > MAX_PROXY_HEADER_BYTES) {
    return malformed(`a PROXY header of ${total} bytes is larger than ${MAX_PROXY_HEADER_BYTES}`);
  }
  // A connection of the balancer's own, as for a health check: whatever addresses it states do not count.
  const isLocal = (command & 0xf) === COMMAND.local;
  if (!isLocal && (command & 0xf) !== COMMAND.proxy)
    return malformed(`the PROXY command ${command & 0xf} is not known`);
  const block = isLocal ? 0 : BLOCK_BYTES[kind];
  if (block === undefined) return malformed(`the PROXY address family ${kind} is not one of a TCP connection`);
  if (rest < block) return malformed(`the PROXY header is too short for its addresses`);
  if (bytes.length < total) return INCOMPLETE;
  const source = isLocal ? undefined : sourceIn(bytes.subarray(FIXED_BYTES, FIXED_BYTES + block), kind);
  return { state: 'complete', bytes: total, source };
}

/** Section 2.2: source address, destination address, source port, destination port. */
function sourceIn(block: Buffer, kind: number): Source | undefined {
  if (kind === TCP_IPV4) return { address: block.subarray(0, 4).join('.'), port: block.readUInt16BE(8) };
  if (kind !== TCP_IPV6) return undefined;
  const groups = Array.from({ length: 8 }, (_, group) => block.readUInt16BE(2 * group).toString(16));
  // In the form in which sockets show theirs.
  const { address } = new SocketAddress({ address: groups.join(':'), family: 'ipv6' });
  return { address, port: block.readUInt16BE(32) };
}

function malformed(reason: string): ProxyHeader {
  return { state: 'malformed', reason };
}
