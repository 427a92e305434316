/** What counts as one address. */
const IPV6_GROUPS = 8;
const NETWORK_GROUPS = 4;

/** What counts as one address: of IPv6 the /64, all of which one host may have; undefined of a connection that is gone. */
export function networkOf(remoteAddress: string | undefined): string | undefined {
  if (remoteAddress === undefined || !remoteAddress.includes(':') || remoteAddress.includes('.')) return remoteAddress;
  const [left = '', right] = (remoteAddress.split('%')[0] ?? '').split('::');
  const before = left === '' ? [] : left.split(':');
  const after = right === undefined || right === '' ? [] : right.split(':');
  const zeros = Array.from({ length: Math.max(0, IPV6_GROUPS - before.length - after.length) }, () => '0');
  return [...before, ...zeros, ...after].slice(0, NETWORK_GROUPS).join(':');
}
