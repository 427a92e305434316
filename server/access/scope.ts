/** Which hosts a token, or whoever else asks, is limited to. */
import { FairleadError } from '../../shared/errors.ts';
import { MAX_TAGS } from '../../shared/limits.ts';
import type { Tables } from '../store/all-tables.ts';
import type { HostScope } from '../store/host-scope.ts';

export type { HostScope } from '../store/host-scope.ts';

/** The most hosts that a scope lists; a tag takes in any number of them. */
export const MAX_SCOPE_HOSTS = 256;

/** A scope as people state it. Without either list it is the whole installation. */
export interface ScopeRequest {
  /** Ids or names. */
  readonly hosts?: readonly string[] | undefined;
  readonly tags?: readonly string[] | undefined;
}

/** Whether a host is in `scope`; without a scope every host is. */
export function includesHost(
  scope: HostScope | undefined,
  host: { readonly id: string; readonly tags: readonly string[] },
): boolean {
  return scope === undefined || scope.hosts.includes(host.id) || scope.tags.some((tag) => host.tags.includes(tag));
}

/**
 * The scope that is asked for, with ids in place of names, so that it does not follow a name to another host. Tags need
 * no host that carries them yet.
 * @returns undefined for the whole installation
 * @throws FairleadError VALIDATION, HOST_NOT_FOUND
 */
export async function resolveScope(
  tables: Pick<Tables, 'hosts'>,
  { hosts, tags }: ScopeRequest,
): Promise<HostScope | undefined> {
  if (hosts === undefined && tags === undefined) return undefined;
  requireCount('hosts', hosts, MAX_SCOPE_HOSTS);
  requireCount('tags', tags, MAX_TAGS);
  const ids = new Set<string>();
  for (const ref of hosts ?? []) ids.add((await tables.hosts.get(ref)).id);
  return { hosts: [...ids], tags: [...new Set(tags)] };
}

/** An empty list may be meant as nothing or as all: it is neither. */
function requireCount(what: string, list: readonly string[] | undefined, most: number): void {
  if (list === undefined || (list.length >= 1 && list.length <= most)) return;
  throw new FairleadError(
    'VALIDATION',
    `${what} is not valid: it names 1 to ${most}; leave it out for no limit of this kind`,
  );
}
