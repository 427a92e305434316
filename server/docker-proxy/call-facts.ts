/** What the audit log says of a call of Docker's API: what it is about, and of its body what matters and is no secret. */
import { FairleadError } from '../../shared/errors.ts';
import type { ClientCall } from './client-call.ts';

export interface CallFacts {
  readonly action: string;
  readonly target: string;
  readonly detail: Record<string, unknown>;
  /** What cannot be written down must not be done. */
  readonly isStrict: boolean;
}

/** Names in the catalogue that the audit log has under another name. */
const ACTIONS: Readonly<Record<string, string>> = { 'container.exec.open': 'container.exec' };

const SIZED: ReadonlySet<string> = new Set(['containers', 'exec']);

/** Whether a call leaves a row when it is done: what changes the host, or gets into a container. */
export function isAudited({ method, path, call }: ClientCall): boolean {
  // A terminal's new size is none of both, and comes often.
  const isResize = method === 'POST' && path.length === 3 && path[2] === 'resize' && SIZED.has(path[0] ?? '');
  return call.policy !== 'read' && !isResize;
}

/** Whether what a call does stands in its body, which is short then. */
export function isBodyTelling({ method, path }: ClientCall): boolean {
  if (method !== 'POST' || path[0] !== 'containers') return false;
  return (path.length === 2 && path[1] === 'create') || (path.length >= 3 && path.at(-1) === 'exec');
}

/** @param body of a call whose body tells */
export function factsOf({ method, target, path, call }: ClientCall, host: string, body?: TellingBody): CallFacts {
  const query = new URLSearchParams(target.split('?').slice(1).join('?'));
  const about = objectOf(path) ?? query.get('name') ?? undefined;
  return {
    action: ACTIONS[call.name] ?? call.name,
    target: about === undefined ? host : `${host}/${about}`,
    detail: { docker: `${method} /${path.join('/')}`, ...asked(query), ...told(body) },
    isStrict: call.policy === 'exec',
  };
}

/** The container, image, network or volume that a path names. */
function objectOf([area, name, ...verb]: readonly string[]): string | undefined {
  if (name === undefined || ['create', 'prune', 'load', 'cancel'].includes(name)) return undefined;
  // Names of images have slashes; all but DELETE have a verb behind them.
  return area === 'images' ? [name, ...verb].join('/').replace(/\/(?:tag|push|json|get|history)$/, '') : name;
}

/** What of a query says what is done; what else there is may be a secret, as the arguments of a build. */
function asked(query: URLSearchParams): Record<string, string> {
  const facts: Record<string, string> = {};
  for (const name of [
    'container',
    'fromImage',
    'fromSrc',
    'tag',
    'repo',
    't',
    'signal',
    'force',
    'v',
    'path',
    'name',
    'filters',
  ]) {
    const value = query.get(name);
    if (value !== null) facts[name] = name === 'fromSrc' ? withoutSecrets(value) : value;
  }
  return facts;
}

/** An address without its user, password and query. */
function withoutSecrets(address: string): string {
  if (!URL.canParse(address)) return address;
  const { protocol, host, pathname } = new URL(address);
  return `${protocol}//${host}${pathname}`;
}

/** What a body says of a call that matters and is no secret: never the environment of what is started. */
export function told(body: TellingBody | undefined): Record<string, unknown> {
  const facts: Record<string, unknown> = {};
  for (const name of ['cmd', 'entrypoint', 'image', 'user', 'tty', 'privileged']) {
    const value = body?.get(name);
    // Anything else is no value of such a field, and would only crowd out the rest of the row.
    if (typeof value === 'boolean' || (typeof value === 'string' && value !== '') || isTexts(value))
      facts[name] = value;
  }
  return { ...facts, ...reachOf(body?.get('hostconfig')) };
}

/** What lets a new container reach its host, as far as it is there. */
function reachOf(hostConfig: unknown): Record<string, unknown> {
  if (!isObject(hostConfig)) return {};
  const facts: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(hostConfig)) {
    const field = folded(name);
    if (field === 'privileged' && value === true) facts[field] = value;
    if (field === 'capadd' && isTexts(value) && value.length > 0) facts[field] = value;
    if (['pidmode', 'ipcmode', 'networkmode', 'usernsmode'].includes(field) && value === 'host') facts[field] = value;
  }
  return facts;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

/** The fields of a body whose call does what they say, by their names as Docker's reader takes them: in any letter case. */
export type TellingBody = ReadonlyMap<string, unknown>;

/**
 * Reads such a body. What Docker's reader would take for something else is refused: it looks at nothing behind the first
 * value, and takes the last of several fields whose names differ in their letters alone.
 * @throws FairleadError VALIDATION
 */
export function readTellingBody(text: string): TellingBody {
  const value = parsed(text);
  if (!isObject(value)) throw new FairleadError('VALIDATION', 'the body of this call must be one JSON object');
  requireOnce(topLevelNames(text));
  return fieldsOf(value);
}

/** As `readTellingBody`, of what has been parsed already. @throws FairleadError VALIDATION */
export function fieldsOf(body: object): TellingBody {
  requireOnce(Object.keys(body));
  return new Map(Object.entries(body).map(([name, one]) => [folded(name), one]));
}

function requireOnce(names: readonly string[]): void {
  if (new Set(names.map(folded)).size === names.length) return;
  throw new FairleadError('VALIDATION', 'the body of this call has a field twice');
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The names of an object's own fields in a text that is JSON, each as often as it stands there. */
function topLevelNames(text: string): string[] {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g) ?? [];
  const names: string[] = [];
  let depth = 0;
  for (const [at, token] of tokens.entries()) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && token.startsWith('"') && tokens[at + 1] === ':') names.push(JSON.parse(token) as string);
  }
  return names;
}

/** As Docker's reader compares names: it takes a long s for an s, too. */
function folded(name: string): string {
  return name.toLowerCase().replaceAll('\u017f', 's');
}
