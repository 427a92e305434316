/** PROXY headers as a balancer sends them. */
import { isIPv6 } from 'node:net';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** Any header of version 2: command and family as their bytes, then the addresses and whatever follows them. */
export function rawProxyHeader(command: number, family: number, rest: Uint8Array = Buffer.alloc(0)): Buffer {
  const fixed = Buffer.from([command, family, rest.byteLength >> 8, rest.byteLength & 0xff]);
  return Buffer.concat([SIGNATURE, fixed, rest]);
}

/** The header for a TCP connection from `address` and `port`. @param tlvs what stands behind the addresses */
export function proxyHeader(address: string, port: number, tlvs: Uint8Array = Buffer.alloc(0)): Buffer {
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(port, 0);
  ports.writeUInt16BE(8443, 2);
  if (!isIPv6(address)) {
    const four = Buffer.from(address.split('.').map(Number));
    return rawProxyHeader(0x21, 0x11, Buffer.concat([four, Buffer.from([192, 0, 2, 1]), ports, tlvs]));
  }
  const [left = '', right = ''] = address.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const middle = Array.from({ length: 8 - groups(left).length - groups(right).length }, () => 0);
  const sixteen = Buffer.from([...groups(left), ...middle, ...groups(right)].flatMap((n) => [n >> 8, n & 0xff]));
  return rawProxyHeader(0x21, 0x21, Buffer.concat([sixteen, Buffer.alloc(16), ports, tlvs]));
}

/** What a balancer sends of its own connections, as for a health check. */
export const LOCAL_HEADER = rawProxyHeader(0x20, 0x00);
