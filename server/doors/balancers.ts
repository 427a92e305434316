/** The balancers in front of the server whose word on where a connection comes from is taken. */
import { BlockList, isIP } from 'node:net';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_BALANCERS } from './limits.ts';

export interface Balancers {
  /** Whether a connection from `address` comes from one of them. */
  has(address: string | undefined): boolean;
}

/**
 * The balancers that `list` names, by address or CIDR; undefined if there is none.
 * @throws FairleadError VALIDATION that names `flag`
 */
export function parseBalancers(flag: string, list: readonly string[]): Balancers | undefined {
  if (list.length === 0) return undefined;
  if (list.length > MAX_BALANCERS) {
    throw new FairleadError('VALIDATION', `${flag} names ${list.length} balancers: at most ${MAX_BALANCERS}`);
  }
  const known = new BlockList();
  for (const entry of list) add(known, flag, entry);
  return {
    has: (address) => {
      const version = address === undefined ? 0 : isIP(address);
      return address !== undefined && version !== 0 && known.check(address, family(version));
    },
  };
}

function add(known: BlockList, flag: string, entry: string): void {
  const [, address = '', bits] = /^([^/]+?)(?:\/(\d{1,3}))?$/.exec(entry) ?? [];
  const version = isIP(address);
  const most = version === 4 ? 32 : 128;
  if (version === 0 || address.includes('%') || !(Number(bits ?? most) <= most)) {
    throw new FairleadError(
      'VALIDATION',
      `${flag} ${JSON.stringify(entry)} is neither an IP address nor a network, as in 192.0.2.7, 10.0.0.0/8 or fd00::/8`,
    );
  }
  known.addSubnet(address, Number(bits ?? most), family(version));
}

function family(version: number): 'ipv4' | 'ipv6' {
  return version === 4 ? 'ipv4' : 'ipv6';
}
