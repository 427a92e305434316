/** Which hosts a rollout is for, and which of them the release is not for. */
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { ReleaseView } from '../releases/release-view.ts';
import type { HostRow } from '../store/hosts.ts';
import { MAX_PAGE_LIMIT } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import { requireWishable } from '../upgrades/wishable.ts';
import type { RolloutSelect } from './options.ts';
import type { Candidate } from './plan.ts';

/** A host that is left as it is. */
export interface Unfit {
  readonly hostId: string;
  readonly code: string | undefined;
  readonly detail: string;
}

export interface Selected {
  readonly candidates: readonly Candidate[];
  readonly unfit: readonly Unfit[];
}

export interface SelectDeps {
  readonly store: Pick<Store, 'hosts' | 'hostUpgrades'>;
  readonly registry: Pick<HostRegistry, 'link'>;
}

/** Looks at all hosts that are meant. @throws FairleadError VALIDATION for an empty selection, HOST_NOT_FOUND */
export async function selectHosts(deps: SelectDeps, select: RolloutSelect, release: ReleaseView): Promise<Selected> {
  const candidates: Candidate[] = [];
  const unfit: Unfit[] = [];
  for (const host of await meantHosts(deps.store, select)) {
    const obstacle = await obstacleOf(deps, host, release);
    if (obstacle !== undefined) {
      unfit.push({ hostId: host.id, ...obstacle });
      continue;
    }
    const isOnline = deps.registry.link(host.id) !== undefined;
    candidates.push({ hostId: host.id, tags: host.tags, isOnline });
  }
  return { candidates, unfit };
}

/** Revoked hosts are no part of the fleet. */
async function meantHosts({ hosts }: Pick<Store, 'hosts'>, select: RolloutSelect): Promise<HostRow[]> {
  const { tags = [], hosts: named, all } = select;
  if (tags.length === 0 && named === undefined && all === undefined) {
    throw new FairleadError('VALIDATION', 'say which hosts: by tags or hosts, or all of them by `all: true`');
  }
  const found: HostRow[] = [];
  const fits = (host: HostRow) => host.revokedAt === undefined && tags.every((tag) => host.tags.includes(tag));
  if (named !== undefined) {
    const ids = new Map<string, HostRow>();
    for (const ref of named) {
      const host = await hosts.get(ref);
      ids.set(host.id, host);
    }
    return [...ids.values()].filter(fits);
  }
  let cursor: string | undefined;
  do {
    const page = await hosts.list({ limit: MAX_PAGE_LIMIT, cursor });
    found.push(...page.items.filter(fits));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found;
}

/** Why the release is not for a host; undefined: it is. */
async function obstacleOf(
  { store, registry }: SelectDeps,
  host: HostRow,
  release: ReleaseView,
): Promise<Omit<Unfit, 'hostId'> | undefined> {
  const link = registry.link(host.id);
  try {
    await requireWishable(store, host, link, release);
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return { code: error.code, detail: error.message };
  }
  const version = link?.describe().agentVersion ?? host.agentVersion;
  return version === release.version ? { code: undefined, detail: `it runs ${version} already` } : undefined;
}
