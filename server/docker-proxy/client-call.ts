/** What a client asks of a host's Docker: read from its request once, so that what is judged is what goes on. */
import type { IncomingMessage } from 'node:http';
import { type ApiCall, apiCall } from '../../shared/docker/api-calls.ts';
import { endToEnd, type HeaderPair } from '../../shared/docker/headers.ts';
import { isArea, isVersion, normalPath } from '../../shared/docker/path.ts';
import { FairleadError } from '../../shared/errors.ts';

export interface ClientCall {
  readonly method: string;
  /** Path and query as Docker gets them. */
  readonly target: string;
  /** The path's parts, as Docker's router takes them. */
  readonly path: readonly string[];
  readonly call: ApiCall;
  readonly headers: readonly HeaderPair[];
  readonly body: 'none' | 'chunked' | number;
}

/** Everything of the API's own path, up to Docker's. */
const PREFIX = /^\/api\/v1\/(?:hosts\/[^/?#]+\/)?docker(?=\/)/;
const WITHOUT_HOST = '/api/v1/docker';
const FIRST_PART = /^\/([^/?#]+)/;

/**
 * What is between the client and this server: who it is, and how its connection is used. Docker would compress an archive for
 * a client over TCP, at a tenth of the rate; our link compresses by itself, where the network is slower than that.
 */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  'accept-encoding',
  'authorization',
  'content-length',
  'cookie',
  'expect',
  'forwarded',
  'host',
  'origin',
  'referer',
  'via',
  'x-csrf-token',
  'x-fairlead-host',
  'x-real-ip',
  'x-request-id',
]);
const OWN_FAMILIES = /^(?:x-forwarded-|sec-fetch-)/;

/**
 * Whether a request's path is one of the Docker proxy's.
 * @param url as it came, with its query
 */
export function isDockerPath(url: string | undefined): boolean {
  return PREFIX.test(url ?? '') || isRootCall(url ?? '');
}

/**
 * Where a request belongs that asks for Docker's API at the root, as clients do that know no path in DOCKER_HOST, and all of
 * them for BuildKit's connections: to the route that takes the host from elsewhere. Any other stays where it is.
 */
export function routedUrl(url: string): string {
  return isRootCall(url) ? `${WITHOUT_HOST}${url}` : url;
}

function isRootCall(url: string): boolean {
  const [, part = ''] = FIRST_PART.exec(url) ?? [];
  return isVersion(part) || isArea(part);
}

/** @throws FairleadError VALIDATION for a path with more than one reading, or a body that cannot be passed on */
export function readClientCall(request: IncomingMessage): ClientCall {
  const { method = '', url = '' } = request;
  const target = url.replace(PREFIX, '');
  const path = normalPath(target);
  const call = apiCall(method, target);
  if (target === url || path === undefined || call === undefined || !/^[!-~]+$/.test(target)) {
    throw new FairleadError(
      'VALIDATION',
      "the path behind /docker must be one of Docker's API in its normal form: no `.`, `..`, empty parts, escaped slashes " +
        'or control characters',
    );
  }
  const headers = endToEnd(request.rawHeaders).filter(([name]) => {
    const lower = name.toLowerCase();
    return !OWN_HEADERS.has(lower) && !OWN_FAMILIES.test(lower);
  });
  return { method, target, path, call, headers, body: bodyOf(request) };
}

/** HTTP's own reader has refused a request that says both, or a length more than once. */
function bodyOf({ headers }: IncomingMessage): ClientCall['body'] {
  const { 'transfer-encoding': encoding, 'content-length': length = '0' } = headers;
  if (encoding !== undefined) {
    if (encoding.toLowerCase() === 'chunked') return 'chunked';
    throw new FairleadError('VALIDATION', 'a body may be sent chunked, but in no other transfer encoding');
  }
  return Number(length) || 'none';
}
