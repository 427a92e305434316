/** A release of the agent as the rest of the server sees it. */
import type { SignedRelease } from '../../shared/releases/release.ts';
import type { ReleaseRow } from '../store/releases.ts';

/** `ready` once all of its executables are there. */
export type ReleaseState = 'incomplete' | 'ready';

export interface ReleaseView extends ReleaseRow {
  readonly state: ReleaseState;
}

export function releaseView(row: ReleaseRow): ReleaseView {
  return { ...row, state: row.files.every(({ storedAt }) => storedAt !== undefined) ? 'ready' : 'incomplete' };
}

/** The signed release for a platform; undefined if there is none. */
export function fileFor({ files }: ReleaseRow, platform: { os: string; arch: string }): SignedRelease | undefined {
  return files.find(({ signed }) => signed.os === platform.os && signed.arch === platform.arch)?.signed;
}
