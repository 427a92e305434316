/** The header of the PROXY protocol, version 1 (haproxy.org, proxy-protocol.txt, section 2.1): a line of text, read strictly. */
import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { MAX_PROXY_LINE_BYTES } from './limits.ts';
import type { ProxyHeader } from './proxy-header.ts';
import type { Source } from './source.ts';

/** What every line begins with. */
export const PROXY_LINE_START = Buffer.from('PROXY ', 'latin1');
const LINE = /^PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/;
/** The sender has no address: whatever stands behind it does not count. */
const UNKNOWN = /^PROXY UNKNOWN(?: [^\r\n]*)?$/;
const MAX_PORT = 65_535;

/** What the first bytes of a connection are that begins with `PROXY_LINE_START`, or with a part of it. Never throws. */
export function readProxyLine(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, MAX_PROXY_LINE_BYTES).indexOf('\r\n', 0, 'latin1');
  if (end === -1) {
    if (bytes.length < MAX_PROXY_LINE_BYTES) return { state: 'incomplete' };
    return { state: 'malformed', reason: `a PROXY line has no end within ${MAX_PROXY_LINE_BYTES} bytes` };
  }
  const line = bytes.toString('latin1', 0, end);
  const source = sourceIn(line);
  if (source === undefined && !UNKNOWN.test(line)) {
    return { state: 'malformed', reason: 'it begins like a line of the PROXY protocol, and is none' };
  }
  return { state: 'complete', bytes: end + 2, source };
}

function sourceIn(line: string): Source | undefined {
  const [, family, from = '', to = '', ...ports] = LINE.exec(line) ?? [];
  const [port = 0, ownPort = 0] = ports.map(Number);
  if (family === undefined || port > MAX_PORT || ownPort > MAX_PORT) return undefined;
  if (family === 'TCP4') return isIPv4(from) && isIPv4(to) ? { address: from, port } : undefined;
  if (![from, to].every((address) => isIPv6(address) && !address.includes('%'))) return undefined;
  // In the form in which sockets show theirs.
  return { address: new SocketAddress({ address: from, family: 'ipv6' }).address, port };
}
