/** What `status` tells of upgrades. */
import type { UpgradeRecord } from './journal.ts';

export interface UpgradeStatus {
  /** `none`: none was ever begun; up to `settling`, one is on its way; `done`, `failed` or `refused`, so the last one ended. */
  readonly state: 'none' | 'downloading' | 'verifying' | 'trying' | 'settling' | 'done' | 'failed' | 'refused';
  readonly version?: string;
  readonly sequence?: number;
  /** RFC 3339. */
  readonly since?: string;
  /** Of one that failed or was refused. */
  readonly code?: string;
  readonly detail?: string;
  /** The highest sequence of a release that has run here; 0: none. */
  readonly highestSequence: number;
  /** Releases that have failed here and are not tried again. */
  readonly refused: readonly { readonly sequence: number; readonly version: string; readonly detail: string }[];
}

export function upgradeStatus({ sequence, refused, current, last }: UpgradeRecord): UpgradeStatus {
  const rest = {
    highestSequence: sequence,
    refused: refused.map(({ sequence, version, detail }) => ({ sequence, version, detail })),
  };
  if (current !== undefined && current.step !== 'settled') {
    const { step: state, since, release } = current;
    return { state, version: release.version, sequence: release.sequence, since, ...rest };
  }
  if (last === undefined) return { state: 'none', ...rest };
  const { at: since, ...how } = last;
  return { ...how, since, ...rest };
}

/** The same as rows for people. */
export function describeUpgrade(status: UpgradeStatus): [string, string][] {
  const { state, version, sequence, since, detail, refused } = status;
  const rows: [string, string][] = [];
  if (state !== 'none') {
    const why = detail === undefined ? '' : `: ${detail}`;
    rows.push(['upgrade', `${state}, version ${version} (sequence ${sequence}), since ${since}${why}`]);
  }
  if (refused.length > 0) {
    const releases = refused.map((each) => `${each.version} (sequence ${each.sequence})`);
    rows.push(['not again', releases.join(', ')]);
  }
  return rows;
}
