/**
 * Entries of the host's policy that name what `tcp.open` may reach: `tcp:web:5432`, `tcp:*:8000-8099`, `tcp:host:22`. Nothing
 * may be reached that is not named.
 */
import { FairleadError } from './errors.ts';
import type { HostPolicy } from './messages/control.ts';

/** What a connection is asked to. */
export interface TcpTarget {
  /** The container's own name, as Docker has it; undefined: the host itself. */
  readonly container: string | undefined;
  readonly port: number;
}

interface TargetPattern {
  /** `*` for any container. */
  readonly container: string;
  readonly first: number;
  readonly last: number;
}

const ENTRY = /^tcp:(\*|[a-zA-Z0-9][a-zA-Z0-9_.-]*):(?:(\*)|(\d{1,5})(?:-(\d{1,5}))?)$/;
const MAX_PORT = 65_535;
/** What stands for the host in an entry. A container of that name is only reached by `*`. */
const HOST = 'host';
/** All that may stand for every target, by the name of the kind. */
const ALL: ReadonlySet<string> = new Set(['tcp', 'tcp.*', 'tcp.open', 'connect']);

/** Whether `entry` is about what may be reached, and not about kinds. */
export function isTargetEntry(entry: string): boolean {
  return entry.startsWith('tcp:');
}

/** Whether `entry` names targets as it should. */
export function isTargetPattern(entry: string): boolean {
  return parse(entry) !== undefined;
}

/** Whether the host's policy lets `target` be reached: named by an entry of `allow`, and by none of `deny`. */
export function permitsTarget(policy: HostPolicy, target: TcpTarget): boolean {
  if (policy.deny.some((entry) => entry === '*' || ALL.has(entry) || covers(entry, target, true))) return false;
  return policy.allow.some((entry) => ALL.has(entry) || covers(entry, target, false));
}

/** @param isDenial `*` stands for any container, and in a denial for the host and for a container called host as well */
function covers(entry: string, { container, port }: TcpTarget, isDenial: boolean): boolean {
  const pattern = parse(entry);
  if (pattern === undefined || port < pattern.first || port > pattern.last) return false;
  if (pattern.container === '*') return container !== undefined || isDenial;
  if (pattern.container === HOST) return container === undefined || (isDenial && container === HOST);
  return pattern.container === container;
}

function parse(entry: string): TargetPattern | undefined {
  const [, container, all, from = '', to = from] = ENTRY.exec(entry) ?? [];
  if (container === undefined) return undefined;
  if (all !== undefined) return { container, first: 1, last: MAX_PORT };
  const [first, last] = [Number(from), Number(to)];
  return first >= 1 && first <= last && last <= MAX_PORT ? { container, first, last } : undefined;
}

/** The refusal of a target that the host's policy does not name, which says how its owner would. */
export function targetDenied({ container, port }: TcpTarget): FairleadError {
  const what = container === undefined ? `port ${port} of the host` : `port ${port} of the container ${container}`;
  return new FairleadError(
    'DENIED_BY_HOST',
    `this host's policy does not allow connections to ${what}; its owner may, by --allow tcp:${container ?? HOST}:${port} on ` +
      'fairlead-agent run (with --allow full beside it, if nothing else is limited)',
  );
}
