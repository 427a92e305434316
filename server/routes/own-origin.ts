/** Whether a browser sends a request for a page of this server, or for one of somebody else's. */
import type { FastifyRequest } from 'fastify';
import type { ApiDeps } from './deps.ts';

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Whether a method changes nothing. A WebSocket does begin with such a one. */
export function isSafe({ method }: Pick<FastifyRequest, 'method'>): boolean {
  return SAFE_METHODS.has(method);
}

/**
 * Whether the request names an origin, and it is this server's: https, one of its public hosts (so that no other name that
 * is made to point here counts), and the port that it was asked at; behind a TLS proxy, which may hide that, the usual one, too.
 */
export function isOwnOrigin(
  { headers }: Pick<FastifyRequest, 'headers'>,
  { publicHosts, trustProxy }: Pick<ApiDeps, 'publicHosts' | 'trustProxy'>,
): boolean {
  const origin = URL.parse(headers.origin ?? '');
  if (origin?.protocol !== 'https:' || origin.pathname !== '/' || origin.search !== '') return false;
  if (!publicHosts.some((host) => hostnameOf(host) === origin.hostname)) return false;
  const asked = URL.parse(`https://${headers.host ?? ''}`);
  return asked?.host === origin.host || (trustProxy === true && origin.port === '');
}

/**
 * Whether the browser says that a page of another origin makes it send the request (Fetch Metadata): that page cannot read
 * the answer, but can count it, time it, and use up what its reader may have open. A link that somebody follows is none.
 * A WebSocket is judged by its origin instead.
 */
export function isMadeElsewhere({ headers, method }: Pick<FastifyRequest, 'headers' | 'method'>): boolean {
  const { 'sec-fetch-site': site, 'sec-fetch-mode': mode, 'sec-fetch-dest': dest } = headers;
  if (site === undefined || site === 'same-origin' || site === 'none') return false;
  return !(method === 'GET' && mode === 'navigate' && dest === 'document');
}

/** A host as URLs write it. */
function hostnameOf(host: string): string | undefined {
  return URL.parse(`https://${host.includes(':') ? `[${host}]` : host}`)?.hostname;
}
