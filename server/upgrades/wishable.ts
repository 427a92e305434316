/** Whether a release can be wished at a host, and why not. */
import { FairleadError } from '../../shared/errors.ts';
import { agentUpgrade } from '../../shared/messages/release.ts';
import { Release } from '../../shared/releases/release.ts';
import { compareVersions } from '../../shared/releases/version-order.ts';
import { fits } from '../../shared/validate.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { fileFor, type ReleaseView } from '../releases/release-view.ts';
import type { HostUpgradeRow } from '../store/host-upgrades.ts';
import type { HostRow } from '../store/hosts.ts';
import type { Store } from '../store/store.ts';

/**
 * @throws FairleadError UNSUPPORTED for a host whose agent cannot replace itself at all; NOT_FOUND without an executable for it;
 *   CONFLICT for one that is revoked, that says that it does not, or for an older version that is not signed as a downgrade
 */
export async function requireWishable(
  store: Pick<Store, 'hostUpgrades'>,
  host: HostRow,
  link: HostLink | undefined,
  release: ReleaseView,
): Promise<void> {
  const { name, kind } = host;
  if (kind !== 'native') {
    throw new FairleadError('UNSUPPORTED', `${name} runs an agent of Hawser, which is not upgraded from here`);
  }
  if (host.revokedAt !== undefined) throw new FairleadError('CONFLICT', `the host ${name} is revoked`);
  const { os, arch, agentVersion } = link?.describe() ?? host;
  const signed = fileFor(release, { os, arch });
  if (signed === undefined) {
    throw new FairleadError(
      'NOT_FOUND',
      `the release ${release.version} has no executable for ${os}/${arch} (${name})`,
    );
  }
  if (agentVersion === release.version) return;
  if (signed.downgrade !== true && isOlder(release.version, agentVersion)) {
    const detail = `${name} runs ${agentVersion}, and ${release.version} is older and was not signed as a downgrade`;
    throw new FairleadError('CONFLICT', detail);
  }
  if (link !== undefined) await requireAble(store, link, name, release.sequence);
}

async function requireAble(
  store: Pick<Store, 'hostUpgrades'>,
  link: HostLink,
  name: string,
  sequence: number,
): Promise<void> {
  const { upgrade, capabilities, agentVersion } = link.describe();
  if (upgrade === undefined || !capabilities.includes(agentUpgrade.name)) {
    const detail = `the agent ${agentVersion} of ${name} is too old to replace itself: install a newer one by install.sh`;
    throw new FairleadError('UNSUPPORTED', detail);
  }
  if (!upgrade.able) {
    throw new FairleadError(
      'CONFLICT',
      `the agent of ${name} cannot replace itself: ${upgrade.reason ?? 'it says no why'}`,
    );
  }
  if (upgrade.refused?.includes(sequence) !== true) return;
  const last = await store.hostUpgrades.find(link.hostId);
  const why = last?.sequence === sequence && last.detail !== undefined ? `: ${last.detail}` : '';
  throw new FairleadError('CONFLICT', `${name} has tried this release in vain and does not try it again${why}`);
}

/** @throws FairleadError CONFLICT if a rollout has the host, and not the one with this id */
export function requireNoOtherRollout(row: HostUpgradeRow, name: string, rolloutId: string | undefined): void {
  if (row.rolloutId === undefined || row.rolloutId === rolloutId) return;
  throw new FairleadError('CONFLICT', `the rollout ${row.rolloutId} is upgrading the host ${name}`);
}

/** What is no version, as an agent may say anything, is newer than nothing. */
function isOlder(version: string, than: string): boolean {
  return fits(Release.properties.version, than) && compareVersions(version, than) < 0;
}
