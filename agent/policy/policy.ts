/**
 * The host's own policy: which kinds of streams it serves, and which calls Docker gets. The owner of the host decides; the
 * server cannot override it.
 */
import { FairleadError } from '../../shared/errors.ts';
import type { HostPolicy } from '../../shared/messages/control.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import { tcpOpen } from '../../shared/messages/tcp.ts';
import { isTargetEntry, isTargetPattern } from '../../shared/tcp-targets.ts';
import { ACTS } from './acts.ts';
import { isCallEntry, isCallPattern, isKnownArea } from './docker-calls.ts';
import { isPreset, presetHas } from './presets.ts';

/** What a policy looks at of a kind. */
export type PolicySubject = Pick<StreamKind, 'name' | 'policy'>;

/**
 * A kind's name or its beginning (`container.exec`), all kinds of a family (`container.*`), a class of kinds (`read`,
 * `change`, `exec`, `connect`), or all (`*`).
 */
const PATTERN = /^(?:\*|[a-z0-9-]+(?:\.[a-z0-9-]+)*(?:\.\*)?)$/;
const CLASSES: ReadonlySet<string> = new Set(['read', 'change', 'exec', 'connect']);
const MAX_PATTERN_CHARS = 64;
/** The policy travels in the hello, whose frame is small and has the names of all kinds besides. */
export const MAX_POLICY_CHARS = 1536;
const MAX_ENTRIES = 256;

/** Entries as they stand in agent.json or on the command line. */
export interface PolicyEntries {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

/**
 * The policy of this run. What `allow` of the command line says of kinds replaces what that of agent.json says of them, and
 * so with Docker calls; `deny` is added to it.
 * @param file how errors name agent.json
 * @throws FairleadError VALIDATION for an entry that is none, which it names with its place, or for too many of them
 */
export function mergePolicy(fromFile: PolicyEntries, fromFlags: PolicyEntries, file = 'agent.json'): HostPolicy {
  for (const list of ['allow', 'deny'] as const) {
    for (const entry of fromFile[list] ?? []) checkEntry(entry, list, `${list} in ${file}`);
    for (const entry of fromFlags[list] ?? []) checkEntry(entry, list, `--${list}`);
  }
  const inFile = fromFile.allow ?? [];
  const inFlags = fromFlags.allow ?? [];
  const allowed = (isWanted: (entry: string) => boolean) =>
    inFlags.some(isWanted) ? inFlags.filter(isWanted) : inFile.filter(isWanted);
  const policy = {
    allow: unique([...allowed((entry) => !isCallEntry(entry)), ...allowed(isCallEntry)]),
    deny: unique([...(fromFile.deny ?? []), ...(fromFlags.deny ?? [])]),
  };
  const { allow, deny } = policy;
  if ([...allow, ...deny].join().length > MAX_POLICY_CHARS || Math.max(allow.length, deny.length) > MAX_ENTRIES) {
    throw new FairleadError(
      'VALIDATION',
      `what is allowed and denied is too much: it may have ${MAX_ENTRIES} entries each and ${MAX_POLICY_CHARS} characters ` +
        'together',
    );
  }
  return policy;
}

/** @param where stands before the complaint */
function checkEntry(entry: string, list: 'allow' | 'deny', where: string): void {
  const refuse = (why: string) => {
    const shown = JSON.stringify(entry.length > MAX_PATTERN_CHARS ? `${entry.slice(0, MAX_PATTERN_CHARS)}…` : entry);
    throw new FairleadError('VALIDATION', `${where}: ${shown} ${why}`);
  };
  if (entry.length > MAX_PATTERN_CHARS) refuse(`is longer than ${MAX_PATTERN_CHARS} characters`);
  if (isCallEntry(entry)) {
    if (!isCallPattern(entry)) {
      refuse(
        'names no Docker call; write docker:DELETE, docker:GET /containers/** or docker:* /volumes/*, with GET, POST, PUT, ' +
          'DELETE or *, and a path without the version, in which * is a name and ** at the end all below',
      );
    }
  } else if (isTargetEntry(entry)) {
    if (!isTargetPattern(entry)) {
      refuse('names nothing that can be reached; write tcp:CONTAINER:PORT, tcp:*:8000-8099, tcp:host:22 or tcp:host:*');
    }
  } else if (!PATTERN.test(entry)) {
    refuse('names no kind; write container.exec.open, container.*, exec or *');
  } else if (list === 'deny' && isPreset(entry)) {
    refuse('can only be allowed: what it does not name is denied then');
  }
}

/**
 * Whether `policy` lets `kind` be served: named by `allow`, if that names any kind, and not by `deny`. One of the class
 * `connect` must be named, and neither `*` nor a preset names it; what it may reach is then asked for each connection.
 */
export function permits(policy: HostPolicy, kind: PolicySubject): boolean {
  if (denies(policy, kind)) return false;
  const allowed = policy.allow.filter((entry) => !isCallEntry(entry));
  if (kind.policy === 'connect') return allowed.some((entry) => entry !== '*' && allows(entry, kind));
  return allowed.length === 0 || allowed.some((entry) => allows(entry, kind));
}

function allows(entry: string, kind: PolicySubject): boolean {
  return isTargetEntry(entry) ? kind.name === tcpOpen.name : matches(entry, kind);
}

/** Whether an entry of `deny` concerns `kind`, or by its name what `kind` does as well. */
export function denies(policy: HostPolicy, kind: PolicySubject): boolean {
  return policy.deny.some((pattern) => matches(pattern, kind)) || deniedAct(policy, kind) !== undefined;
}

/** What `kind` does as well and `deny` has by name, if there is such a thing. */
export function deniedAct(policy: HostPolicy, kind: PolicySubject): string | undefined {
  return ACTS.get(kind.name)?.as?.find((name) => deniesAct(policy, kind, name));
}

/**
 * Whether `kind` may not do what goes by `name` in the catalogue, since an entry of `deny` has that by its name. It may if
 * `allow` has the kind by its whole name: the owner has thought of this one then. Classes are of the kind alone.
 */
export function deniesAct(policy: HostPolicy, kind: PolicySubject, name: string): boolean {
  return !policy.allow.includes(kind.name) && names(policy.deny, { name });
}

/** Whether an entry has `kind` by its own name, or by the beginning of it, and not by what it does. */
export function names(entries: readonly string[], kind: Pick<PolicySubject, 'name'>): boolean {
  return entries.some((entry) => entry === kind.name || kind.name.startsWith(`${entry.replace(/\.\*$/, '')}.`));
}

/** The entries that concern none of `kinds`, nor a known part of Docker: slips of the pen, or what a later version knows. */
export function idleEntries(policy: HostPolicy, kinds: readonly PolicySubject[]): string[] {
  return [...policy.allow, ...policy.deny].filter((entry) =>
    isCallEntry(entry) ? !isKnownArea(entry) : !kinds.some((kind) => allows(entry, kind)),
  );
}

/**
 * Refuses what would deny nothing: an entry that concerns none of `kinds` although it is a single word, or begins with a
 * family that they have. Families of later versions may stand in a policy already.
 * @param policy its denials count, as one place has them
 * @param where names that place in errors
 * @throws FairleadError VALIDATION
 */
export function checkDenials(policy: PolicyEntries, kinds: readonly PolicySubject[], where = '--deny'): void {
  const families = new Set(kinds.map(({ name }) => name.split('.')[0]));
  for (const entry of idleEntries({ allow: [], deny: [...(policy.deny ?? [])] }, kinds)) {
    if (entry.includes('.') && !families.has(entry.split('.')[0])) continue;
    throw new FairleadError(
      'VALIDATION',
      `${where}: "${entry}" names no kind, so that it would deny nothing; write container.exec, change, exec or *`,
    );
  }
}

function matches(pattern: string, kind: PolicySubject): boolean {
  if (pattern === '*' || pattern === kind.name || kind.name.startsWith(`${pattern}.`)) return true;
  if (CLASSES.has(pattern)) return pattern === kind.policy;
  if (isPreset(pattern)) return presetHas(pattern, kind);
  return pattern.endsWith('.*') && kind.name.startsWith(pattern.slice(0, -1));
}

function unique(entries: readonly string[]): string[] {
  return [...new Set(entries)];
}
