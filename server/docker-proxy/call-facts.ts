/** What the audit log says of a call of Docker's API: what it is about, and of its body what matters and is no secret. */
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

/** Whether a call leaves a row when it is done: what changes the host, or gets into a container. */
export function isAudited({ call, path }: ClientCall): boolean {
  // A terminal's new size is none of both, and comes often.
  return call.policy !== 'read' && path.at(-1) !== 'resize';
}

/** Whether what a call does stands in its body, which is short then. */
export function isBodyTelling({ method, path }: ClientCall): boolean {
  if (method !== 'POST' || path[0] !== 'containers') return false;
  return (path.length === 2 && path[1] === 'create') || (path.length === 3 && path[2] === 'exec');
}

/** @param body as JSON, of a call whose body tells; else undefined */
export function factsOf({ method, target, path, call }: ClientCall, host: string, body?: unknown): CallFacts {
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
  for (const name of ['fromImage', 'fromSrc', 'tag', 'repo', 't', 'signal', 'force', 'v', 'path', 'name', 'filters']) {
    const value = query.get(name);
    if (value !== null) facts[name] = value;
  }
  return facts;
}

function told(body: unknown): Record<string, unknown> {
  if (typeof body !== 'object' || body === null) return {};
  // As Docker reads them: its JSON takes a field's name in any case.
  const fields = new Map(Object.entries(body).map(([name, value]) => [name.toLowerCase(), value]));
  const facts: Record<string, unknown> = {};
  for (const name of ['cmd', 'entrypoint', 'image', 'user', 'tty', 'privileged']) {
    const value: unknown = fields.get(name);
    if (value !== undefined && value !== null && value !== '') facts[name] = value;
  }
  return facts;
}
