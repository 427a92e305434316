/** What a client asks of a host's Docker: read from its request once, so that what is judged is what goes on. */
import type { IncomingMessage } from 'node:http';
import { type ApiCall, apiCall } from '../../shared/docker/api-calls.ts';
import { endToEnd, type HeaderPair, isForNeighbour } from '../../shared/docker/headers.ts';
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

/** A long one costs the host as much as several requests. */
const MAX_TARGET_CHARS = 16 * 1024;
/** Docker would read parameters out of such a body, and take them before those of the query. */
const FORM = /^\s*application\/x-www-form-urlencoded/i;
/** Everything of the API's own path, up to Docker's. */
const PREFIX = /^\/api\/v1\/(?:hosts\/[^/?#]+\/)?docker(?=\/)/;
const WITHOUT_HOST = '/api/v1/docker';
const FIRST_PART = /^\/([^/?#]+)/;

/**
 * What else is between the client and this server. Docker would compress an archive for a client over TCP, at a tenth of the
 * rate; our link compresses by itself, where the network is slower than that.
 */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  'accept-encoding',
  'origin',
  'referer',
  'x-csrf-token',
  'x-fairlead-host',
  'x-real-ip',
  'x-request-id',
]);

/**
 * Whether a request's path is one of the Docker proxy's.
 * @param url as it came, with its query
 */
export function isDockerPath(url: string | undefined): boolean {
  return PREFIX.test(url ?? '') || isRootCall(url ?? '');
}

/** What Docker hands its connection over for. */
const UPGRADED = {
  POST: /(?:\/containers\/.+\/attach|\/exec\/.+\/start|\/session|\/grpc)$/,
  GET: /\/containers\/.+\/attach\/ws$/,
} as const;

/** Whether a request for an upgrade is for a call that Docker has one for; others are as good without. */
export function mayBeUpgraded({ method, url = '' }: Pick<IncomingMessage, 'method' | 'url'>): boolean {
  const [path = ''] = url.split('?', 1);
  return (method === 'POST' || method === 'GET') && UPGRADED[method].test(path);
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
  const body = bodyOf(request);
  if (target === url || path === undefined || call === undefined || !/^[!-~]+$/.test(target)) {
    throw new FairleadError(
      'VALIDATION',
      "the path behind /docker must be one of Docker's API in its normal form: no `.`, `..`, empty parts, escaped slashes " +
        'or control characters',
    );
  }
  if (target.length > MAX_TARGET_CHARS) {
    throw new FairleadError('VALIDATION', `path and query may have ${MAX_TARGET_CHARS} characters at most`);
  }
  if (body !== 'none' && isForm(request.rawHeaders)) {
    throw new FairleadError('VALIDATION', "Docker's API takes no forms: say application/json, or what the body is");
  }
  const headers = endToEnd(request.rawHeaders).filter(
    ([name]) => !isForNeighbour(name) && !OWN_HEADERS.has(name.toLowerCase()),
  );
  return { method, target, path, call, headers, body };
}

function isForm(raw: readonly string[]): boolean {
  return raw.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'content-type' && FORM.test(raw[at + 1] ?? ''));
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
