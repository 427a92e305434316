/**
 * Where webhooks do not go unless the server's owner lets them: addresses by which a machine talks to what it runs on. Clouds
 * hand out their credentials there, to whoever can make a program of the machine ask.
 */
import dns from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { FairleadError } from '../../shared/errors.ts';

const REFUSED = new BlockList();
REFUSED.addSubnet('169.254.0.0', 16, 'ipv4');
REFUSED.addSubnet('fe80::', 10, 'ipv6');
// What clouds have put elsewhere: Alibaba's, Azure's, Oracle's.
REFUSED.addAddress('100.100.100.200', 'ipv4');
REFUSED.addAddress('168.63.129.16', 'ipv4');
REFUSED.addAddress('192.0.0.192', 'ipv4');
// The same over IPv6: AWS's, Google's, Oracle's, Scaleway's, Akamai's, Alibaba's.
REFUSED.addSubnet('fd00:ec2::', 32, 'ipv6');
REFUSED.addAddress('fd20:ce::254', 'ipv6');
REFUSED.addAddress('fd00:c1::a9fe:a9fe', 'ipv6');
REFUSED.addAddress('fd00:42::42', 'ipv6');
REFUSED.addAddress('fd00:a9fe:a9fe::1', 'ipv6');
REFUSED.addAddress('fd00:100::100:200', 'ipv6');
// What stands for no address at all.
REFUSED.addSubnet('0.0.0.0', 8, 'ipv4');
REFUSED.addAddress('::', 'ipv6');

const EMBEDDED = /^(?:::ffff:|::ffff:0:|::|64:ff9b::|64:ff9b:1:[0-9a-f:]*:)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;
const TUNNELLED = /^2002:([0-9a-f]{1,4}):([0-9a-f]{1,4}):/;

/** Whether an address is one of those. IPv6 forms of IPv4 addresses count as those. */
export function isRefused(address: string): boolean {
  const bare = address.replace(/^\[(.*)\]$/, '$1').split('%')[0] ?? '';
  const family = isIP(bare);
  if (family === 0) return false;
  if (family === 4) return REFUSED.check(bare, 'ipv4');
  const embedded = embeddedIpv4(bare);
  return REFUSED.check(bare, 'ipv6') || (embedded !== undefined && REFUSED.check(embedded, 'ipv4'));
}

/**
 * The IPv4 address in one that is mapped (::ffff:a.b.c.d), compatible (::a.b.c.d), translated (64:ff9b::a.b.c.d, any of
 * 64:ff9b:1::/48 that ends so, ::ffff:0:a.b.c.d) or tunnelled (2002:a.b.c.d::).
 */
function embeddedIpv4(address: string): string | undefined {
  // URLs write those 32 bits in hex.
  const normal = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [, high, low] = EMBEDDED.exec(normal) ?? TUNNELLED.exec(normal) ?? [];
  if (high === undefined || low === undefined) return undefined;
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [a >> 8, a & 255, b >> 8, b & 255].join('.');
}

/** @throws FairleadError VALIDATION for a URL whose host is such an address */
export function requireSafeHost({ hostname }: URL): void {
  if (isRefused(hostname)) throw refusal(hostname);
}

/**
 * Resolves names as ever, and fails for one that leads to such an address, whatever it led to before.
 * @param refuse makes the error for what a name and its address are written as
 */
export function lookupBut(refuse: (host: string) => FairleadError): LookupFunction {
  return (hostname, options, callback) => {
    dns.lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '');
      const refused = addresses.find(({ address }) => isRefused(address));
      if (refused !== undefined) return callback(refuse(`${hostname} (${refused.address})`), '');
      const [first] = addresses;
      if (options.all === true) callback(null, addresses);
      else callback(null, first?.address ?? '', first?.family);
    });
  };
}

/** For webhooks. */
export const safeLookup: LookupFunction = lookupBut(refusal);

function refusal(host: string): FairleadError {
  const why =
    'it is for what a machine runs on, as the credentials of a cloud; start the server with --webhook-link-local';
  return new FairleadError('VALIDATION', `webhooks do not go to ${host}: ${why} if they shall`);
}
