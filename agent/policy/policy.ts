/** The host's own policy: which kinds of streams it serves. The owner of the host decides; the server cannot override it. */
import { FairleadError } from '../../shared/errors.ts';
import type { HostPolicy } from '../../shared/messages/control.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';

/** What a policy looks at of a kind. */
export type PolicySubject = Pick<StreamKind, 'name' | 'policy'>;

/** A kind's name or its beginning (`container.exec`), all kinds of a family (`container.*`), a class of kinds (`read`, `change`, `exec`), or all (`*`). */
const PATTERN = /^(?:\*|[a-z0-9-]+(?:\.[a-z0-9-]+)*(?:\.\*)?)$/;
const CLASSES: ReadonlySet<string> = new Set(['read', 'change', 'exec']);
const MAX_PATTERN_CHARS = 64;
/** The policy travels in the hello, whose frame is small. */
const MAX_POLICY_CHARS = 2048;

/**
 * The policy of this run. `allow` of the command line replaces that of agent.json, `deny` is added to it.
 * @throws FairleadError VALIDATION for an entry that is no pattern, or too many of them
 */
export function mergePolicy(
  fromFile: { readonly allow?: readonly string[]; readonly deny?: readonly string[] },
  fromFlags: { readonly allow: readonly string[]; readonly deny: readonly string[] },
): HostPolicy {
  const allow = fromFlags.allow.length > 0 ? fromFlags.allow : (fromFile.allow ?? []);
  const policy = { allow: unique(allow), deny: unique([...(fromFile.deny ?? []), ...fromFlags.deny]) };
  const entries = [...policy.allow, ...policy.deny];
  for (const entry of entries) {
    if (entry.length > MAX_PATTERN_CHARS || !PATTERN.test(entry)) {
      throw new FairleadError(
        'VALIDATION',
        `"${entry}" names no kind; write container.exec.open, container.*, exec or *`,
      );
    }
  }
  if (entries.join().length > MAX_POLICY_CHARS) {
    throw new FairleadError(
      'VALIDATION',
      `what is allowed and denied is together longer than ${MAX_POLICY_CHARS} characters`,
    );
  }
  return policy;
}

/** Whether `policy` lets `kind` be served: named by `allow`, if that names anything, and not by `deny`. */
export function permits(policy: HostPolicy, kind: PolicySubject): boolean {
  if (policy.deny.some((pattern) => matches(pattern, kind))) return false;
  return policy.allow.length === 0 || policy.allow.some((pattern) => matches(pattern, kind));
}

/** The entries that concern none of `kinds`: slips of the pen, or kinds of a later version. */
export function idleEntries(policy: HostPolicy, kinds: readonly PolicySubject[]): string[] {
  return [...policy.allow, ...policy.deny].filter((pattern) => !kinds.some((kind) => matches(pattern, kind)));
}

/**
 * Refuses what would deny nothing: an entry that concerns none of `kinds` although it is a single word, or begins with a
 * family that they have. Families of later versions may stand in a policy already.
 * @throws FairleadError VALIDATION
 */
export function checkDenials(policy: HostPolicy, kinds: readonly PolicySubject[]): void {
  const families = new Set(kinds.map(({ name }) => name.split('.')[0]));
  for (const entry of idleEntries({ allow: [], deny: policy.deny }, kinds)) {
    if (entry.includes('.') && !families.has(entry.split('.')[0])) continue;
    throw new FairleadError(
      'VALIDATION',
      `"${entry}" is denied, but names no kind: write container.exec, change, exec or *`,
    );
  }
}

function matches(pattern: string, kind: PolicySubject): boolean {
  if (pattern === '*' || pattern === kind.name || kind.name.startsWith(`${pattern}.`)) return true;
  if (CLASSES.has(pattern)) return pattern === kind.policy;
  return pattern.endsWith('.*') && kind.name.startsWith(pattern.slice(0, -1));
}

function unique(entries: readonly string[]): string[] {
  return [...new Set(entries)];
}
