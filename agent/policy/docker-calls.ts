/**
 * Entries of the host's policy that name calls of the Docker Engine API, and what they permit: `docker:GET /containers/**`.
 * A call is judged by the method and path that Docker is sent; nothing is rewritten on the way.
 */
import { isArea, isVersion, normalPath } from '../../shared/docker/path.ts';
import type { HostPolicy } from '../../shared/messages/control.ts';

/** An entry, read. */
interface CallPattern {
  /** `*` for all. */
  readonly method: string;
  /** `*` stands for a name, `**` at the end for anything below, and for nothing. */
  readonly path: readonly string[];
}

const ENTRY = /^docker:(\*|GET|POST|PUT|DELETE)(?: (\/\S+))?$/;
const LITERAL = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
const METHOD = /^[A-Z]+$/;

/** What tells whether Docker is there: the agent asks it all the time, and it says nothing of what the host runs. */
const ALWAYS: ReadonlySet<string> = new Set(['/_ping', '/version']);

/** Whether `entry` is about Docker calls and not about kinds. */
export function isCallEntry(entry: string): boolean {
  return entry.startsWith('docker:');
}

/** Whether `entry` names calls as it should. */
export function isCallPattern(entry: string): boolean {
  return parse(entry) !== undefined;
}

/** Whether `entry`, which is a pattern, is about a part of Docker's API that this version knows. */
export function isKnownArea(entry: string): boolean {
  const area = parse(entry)?.path[0];
  return area === '**' || area === '*' || (area !== undefined && isArea(area));
}

/**
 * Whether the host's policy lets Docker be asked this: named by an entry of `allow`, if any there is about calls, and by
 * none of `deny`. A path that is not in its one normal form is never permitted.
 * @param target the request's path as it is sent, with or without a query
 */
export function permitsCall(policy: HostPolicy, method: string, target: string): boolean {
  const path = normalPath(target);
  if (path === undefined || !METHOD.test(method)) return false;
  if ((method === 'GET' || method === 'HEAD') && ALWAYS.has(`/${path.join('/')}`)) return true;
  if (patterns(policy.deny).some((pattern) => matches(pattern, method, path, true))) return false;
  const allowed = patterns(policy.allow);
  return allowed.length === 0 || allowed.some((pattern) => matches(pattern, method, path, false));
}

function patterns(entries: readonly string[]): CallPattern[] {
  return entries.filter(isCallEntry).map((entry) => {
    const pattern = parse(entry);
    if (pattern === undefined) throw new Error(`${entry} was not checked`);
    return pattern;
  });
}

function parse(entry: string): CallPattern | undefined {
  const [, method, path = '/**'] = ENTRY.exec(entry) ?? [];
  if (method === undefined) return undefined;
  const segments = path.slice(1).split('/');
  const isFit = segments.every(
    (segment, at) => segment === '*' || (segment === '**' ? at === segments.length - 1 : LITERAL.test(segment)),
  );
  // Docker takes each call under any version: an entry for one of them would promise what it does not keep.
  return isFit && !isVersion(segments[0] ?? '') ? { method, path: segments } : undefined;
}

/**
 * @param isDenial `*` stands for one part of a path, but in a denial for several as well: names of images have slashes,
 * and so have some by which Docker knows a container. What is denied stays so whatever a name looks like.
 */
function matches(pattern: CallPattern, method: string, path: readonly string[], isDenial: boolean): boolean {
  // A HEAD is a GET without its body.
  const asked = method === 'HEAD' ? 'GET' : method;
  return (pattern.method === '*' || pattern.method === asked) && covers(pattern.path, path, isDenial);
}

/** Goes through the pattern once, with all places of the path that its beginning may reach: no backtracking. */
function covers(pattern: readonly string[], path: readonly string[], isDenial: boolean): boolean {
  let reached = [0];
  for (const part of pattern) {
    if (part === '**') return reached.length > 0;
    const fitting = reached.filter((at) => at < path.length && (part === '*' || path[at] === part));
    const [first] = fitting;
    // In order: a name of several parts that begins at the first place reaches all that one behind it does.
    reached =
      part === '*' && isDenial && first !== undefined ? from(first + 1, path.length) : fitting.map((at) => at + 1);
  }
  return reached.includes(path.length);
}

function from(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
