/** What counts as one address where something is limited by address. */
const IPV6_GROUPS = 8;
const NETWORK_GROUPS = 4;
const MAPPED_IPV4 = /^::ffff:(?=\d+\.)/i;

/**
 * What one person can hold: an IPv4 address, or the /64 of an IPv6 address, each in one form however it was written. Undefined
 * of a connection that is gone.
 */
export function networkOf(remoteAddress: string): string;
export function networkOf(remoteAddress: string | undefined): string | undefined;
export function networkOf(remoteAddress: string | undefined): string | undefined {
  const address = remoteAddress?.replace(MAPPED_IPV4, '');
  if (address === undefined || !address.includes(':') || address.includes('.')) return address;
  const [left = '', right] = (address.split('%')[0] ?? '').split('::');
  const before = left === '' ? [] : left.split(':');
  const after = right === undefined || right === '' ? [] : right.split(':');
  const zeros = Array.from({ length: Math.max(0, IPV6_GROUPS - before.length - after.length) }, () => '0');
  const groups = [...before, ...zeros, ...after].slice(0, NETWORK_GROUPS);
  return groups.map((group) => group.toLowerCase().replace(/^0+(?=.)/, '')).join(':');
}
