/** Under which names and addresses this server is reached, for its certificate and for the URLs it hands out. */
import { lookup } from 'node:dns/promises';
import { hostname } from 'node:os';
import { hostNames } from '../certs/subject-alt-names.ts';
import { isFairleadError } from '../shared/errors.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

const RESOLVE_TIMEOUT_MS = 1_000;

/**
 * The names for the server certificate, the first one for URLs: `configured` ones and localhost, or without any: the address listened on if
 * it is a specific one, the machine's name, localhost and 127.0.0.1; a name that does not resolve here comes last.
 */
export async function publicHosts(configured: readonly string[], listen: readonly ListenAddress[]): Promise<string[]> {
  // Whoever works on the machine itself reaches it by these, whatever it is called elsewhere.
  const local = ['localhost', '127.0.0.1'];
  if (configured.length > 0) return [...new Set([...configured, ...local])];
  const specific = listen.map(({ host }) => host).filter((host) => !isWildcard(host));
  const name = hostname();
  if (!canBeCertified(name)) return [...new Set([...specific, ...local])];
  const names = (await resolves(name)) ? [name, ...local] : [...local, name];
  return [...new Set([...specific, ...names])];
}

/** `https://host:port` or the like; IPv6 addresses go into brackets. */
export function url(scheme: string, host: string, port: number): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Whether a listen address stands for all of the machine's addresses. */
function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** Machines may have names that are none in DNS. */
function canBeCertified(name: string): boolean {
  try {
    hostNames([name]);
    return true;
  } catch (error) {
    if (isFairleadError(error, 'VALIDATION')) return false;
    throw error;
  }
}

async function resolves(name: string): Promise<boolean> {
  const late = new Promise<false>((resolve) => setTimeout(resolve, RESOLVE_TIMEOUT_MS, false).unref());
  const found = lookup(name).then(
    () => true,
    () => false,
  );
  return await Promise.race([found, late]);
}
