/** Paths of the Docker Engine API, as its router takes them. */

/** What the routers of Docker and of Podman take for the version in front of a path, and then leave out. */
const VERSION = /^v[0-9.][0-9A-Za-z.-]*$/;
/** A part of a path as Docker reads it, after its escapes: what names and ids are made of, and no more. */
const SEGMENT = /^[!-~]+$/;
const NO_SEGMENT = /[\\/%?#]/;
const MAX_PATH_CHARS = 4096;

/** Where Docker's API begins, as far as this version knows. */
const AREAS: ReadonlySet<string> = new Set(
  (
    '_ping auth build commit configs containers distribution events exec grpc images info libpod networks nodes plugins ' +
    'secrets services session swarm system tasks version volumes'
  ).split(' '),
);

/** Whether Docker's API has paths that begin with this part. */
export function isArea(segment: string): boolean {
  return AREAS.has(segment);
}

/** Whether the first part of a path is the version of the API that it is under. */
export function isVersion(segment: string): boolean {
  return VERSION.test(segment);
}

/**
 * The parts of a path as Docker's router takes them: unescaped once, without the API's version.
 * @returns undefined for what two readers could take for two paths: `.`, `..`, empty parts, escaped slashes and escapes
 * of escapes, backslashes, control characters, and what does not begin with a slash
 */
export function normalPath(target: string): string[] | undefined {
  const [path = ''] = target.split('?', 1);
  if (!path.startsWith('/') || path.length > MAX_PATH_CHARS) return undefined;
  const segments: string[] = [];
  for (const raw of path.slice(1).split('/')) {
    const segment = unescaped(raw);
    if (segment === undefined || !SEGMENT.test(segment) || NO_SEGMENT.test(segment)) return undefined;
    if (segment === '.' || segment === '..') return undefined;
    segments.push(segment);
  }
  const [first = ''] = segments;
  const unversioned = isVersion(first) ? segments.slice(1) : segments;
  return unversioned.length > 0 ? unversioned : undefined;
}

function unescaped(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    // Not UTF-8, or no escape: no name in Docker is written so.
    return undefined;
  }
}
