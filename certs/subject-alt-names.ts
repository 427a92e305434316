/** The names under which a server is reached, as they stand in its certificate. */
import { isIP, isIPv4 } from 'node:net';
import { domainToASCII } from 'node:url';
import { FairleadError } from '../shared/errors.ts';

/** A general name of RFC 5280 4.2.1.6: its tag number and its bytes. */
export interface GeneralName {
  readonly tag: number;
  readonly bytes: Buffer;
}

const DNS_NAME = 2;
const URI = 6;
const IP_ADDRESS = 7;
const MAX_HOSTS = 64;
const MAX_DNS_CHARS = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

export function uriName(uri: string): GeneralName {
  return { tag: URI, bytes: Buffer.from(uri, 'ascii') };
}

/**
 * The general names of `hosts`, DNS names and IP addresses (IPv6 with or without brackets), each once and in their order.
 * @throws FairleadError VALIDATION that names the host that is neither
 */
export function hostNames(hosts: readonly string[]): GeneralName[] {
  if (hosts.length > MAX_HOSTS) throw new FairleadError('VALIDATION', `more than ${MAX_HOSTS} public hosts`);
  const names = new Map<string, GeneralName>();
  for (const host of hosts) {
    const name = hostName(host);
    names.set(`${name.tag}:${name.bytes.toString('hex')}`, name);
  }
  return [...names.values()];
}

function hostName(host: string): GeneralName {
  const address = host.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) !== 0 && !address.includes('%')) return { tag: IP_ADDRESS, bytes: addressBytes(address) };
  const name = domainToASCII(host.replace(/\.$/, ''));
  if (!isDnsName(name)) {
    throw new FairleadError(
      'VALIDATION',
      `the public host ${JSON.stringify(host)} is neither a DNS name nor an IP address`,
    );
  }
  return { tag: DNS_NAME, bytes: Buffer.from(name, 'ascii') };
}

/** A last label of digits alone would make an address, and one that is not valid. */
function isDnsName(name: string): boolean {
  const labels = name.split('.');
  return (
    name.length <= MAX_DNS_CHARS && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '')
  );
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  // The URL parser writes every IPv6 address as groups of hex with at most one "::".
  const [head = '', tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::');
  const left = groups(head);
  const right = groups(tail ?? '');
  const middle = new Array<number>(8 - left.length - right.length).fill(0);
  return Buffer.from([...left, ...middle, ...right].flatMap((group) => [group >> 8, group & 0xff]));
}

function groups(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
}
