/**
 * The calls of the Docker Engine API: what each is called in the catalogue, who may make it, and what it does to the host.
 * What does not stand here needs an administrator, and the host must permit it as a change and as an exec.
 */
import type { PolicyClass, Role } from '../messages/kind.ts';
import { normalPath } from './path.ts';

/** What a call of Docker's API is, whichever client makes it. */
export interface ApiCall {
  /** The kind that does the same, or would if there were one. */
  readonly name: string;
  readonly role: Role;
  readonly policy: PolicyClass;
}

/**
 * One row: the name, and the calls that go by it. In a path `**` is one part or more: names of images have slashes, and so
 * have some by which Docker knows a container.
 */
type Row = readonly [name: string, ...calls: string[]];

const VIEWER_READS: readonly Row[] = [
  ['host.info', 'GET /_ping', 'HEAD /_ping', 'GET /version', 'GET /info', 'GET /system/df'],
  ['host.events', 'GET /events'],
  ['container.list', 'GET /containers/json'],
  ['container.inspect', 'GET /containers/**/json', 'GET /containers/**/changes', 'GET /exec/**/json'],
  ['container.top', 'GET /containers/**/top'],
  ['container.stats', 'GET /containers/**/stats'],
  ['container.log.stream', 'GET /containers/**/logs'],
  ['container.wait', 'POST /containers/**/wait'],
  ['image.list', 'GET /images/json'],
  ['image.inspect', 'GET /images/**/json', 'GET /images/**/history'],
  ['network.list', 'GET /networks'],
  ['network.inspect', 'GET /networks/**'],
  ['volume.list', 'GET /volumes'],
  ['volume.inspect', 'GET /volumes/**'],
  ['plugin.list', 'GET /plugins'],
];

const OPERATOR_CHANGES: readonly Row[] = [
  // They make the host ask somebody else.
  ['image.search', 'GET /images/search', 'GET /distribution/**/json'],
  ['container.create', 'POST /containers/create'],
  ['container.start', 'POST /containers/**/start'],
  ['container.stop', 'POST /containers/**/stop'],
  ['container.restart', 'POST /containers/**/restart'],
  ['container.kill', 'POST /containers/**/kill'],
  ['container.pause', 'POST /containers/**/pause'],
  ['container.unpause', 'POST /containers/**/unpause'],
  ['container.remove', 'DELETE /containers/**'],
  ['container.rename', 'POST /containers/**/rename'],
  ['container.update', 'POST /containers/**/update'],
  ['container.prune', 'POST /containers/prune'],
  ['container.archive.put', 'PUT /containers/**/archive'],
  ['image.pull', 'POST /images/create'],
  ['image.push', 'POST /images/**/push'],
  ['image.load', 'POST /images/load'],
  ['image.tag', 'POST /images/**/tag'],
  ['image.remove', 'DELETE /images/**'],
  ['image.prune', 'POST /images/prune'],
  ['image.commit', 'POST /commit'],
  ['image.build', 'POST /build', 'POST /build/prune', 'POST /build/cancel', 'POST /session', 'POST /grpc'],
  ['image.login', 'POST /auth'],
  ['network.create', 'POST /networks/create'],
  ['network.remove', 'DELETE /networks/**'],
  ['network.connect', 'POST /networks/**/connect'],
  ['network.disconnect', 'POST /networks/**/disconnect'],
  ['network.prune', 'POST /networks/prune'],
  ['volume.create', 'POST /volumes/create'],
  ['volume.remove', 'DELETE /volumes/**'],
  ['volume.prune', 'POST /volumes/prune'],
];

const OPERATOR_EXECS: readonly Row[] = [
  // What is inside of containers and images comes out by them.
  ['container.archive.get', 'GET /containers/**/archive', 'HEAD /containers/**/archive', 'GET /containers/**/export'],
  ['image.save', 'GET /images/get', 'GET /images/**/get'],
  ['container.exec.open', 'POST /containers/**/exec', 'POST /exec/**/start', 'POST /exec/**/resize'],
  ['container.attach', 'POST /containers/**/attach', 'GET /containers/**/attach/ws', 'POST /containers/**/resize'],
];

interface Pattern {
  readonly method: string;
  readonly path: readonly string[];
  readonly call: ApiCall;
}

const PATTERNS: readonly Pattern[] = [
  ...patterns(VIEWER_READS, 'viewer', 'read'),
  ...patterns(OPERATOR_CHANGES, 'operator', 'change'),
  ...patterns(OPERATOR_EXECS, 'operator', 'exec'),
];

/** All calls that are known, as `GET /containers/json`. */
export const KNOWN_CALLS: readonly (ApiCall & { readonly written: string })[] = PATTERNS.map(
  ({ method, path, call }) => ({ ...call, written: `${method} /${path.join('/')}` }),
);

/** The name of all calls that are not known. */
export const UNKNOWN_CALL = 'docker.request';
const UNKNOWN: ApiCall = { name: UNKNOWN_CALL, role: 'admin', policy: 'exec' };

/**
 * What Docker is asked by a request.
 * @param target its path as it is sent, with or without the API's version and a query
 * @returns undefined for a path that is not in its one normal form
 */
export function apiCall(method: string, target: string): ApiCall | undefined {
  const path = normalPath(target);
  if (path === undefined) return undefined;
  return PATTERNS.find((pattern) => pattern.method === method && covers(pattern.path, path))?.call ?? UNKNOWN;
}

function covers(pattern: readonly string[], path: readonly string[]): boolean {
  const many = pattern.indexOf('**');
  const fits = (part: string | undefined, at: number) => part === path[at];
  if (many === -1) return pattern.length === path.length && pattern.every(fits);
  const behind = pattern.slice(many + 1);
  if (path.length < pattern.length) return false;
  const offset = path.length - behind.length;
  return pattern.slice(0, many).every(fits) && behind.every((part, at) => fits(part, offset + at));
}

function patterns(rows: readonly Row[], role: Role, policy: PolicyClass): Pattern[] {
  return rows.flatMap(([name, ...calls]) =>
    calls.map((written) => {
      const [method = '', path = ''] = written.split(' ');
      return { method, path: path.slice(1).split('/'), call: { name, role, policy } };
    }),
  );
}
