/** What the routes need of releases of the agent, and of which of them hosts are to run. */
import type { Readable } from 'node:stream';
import type { SignedRelease } from '../../../shared/releases/release.ts';
import type { ReleaseView } from '../../releases/release-view.ts';
import type { ReleasePlatform } from '../../releases/releases.ts';
import type { Wish } from '../../upgrades/host-upgrades.ts';
import type { Actor } from './caller.ts';

export interface ReleasesService {
  /** The newest first. */
  list(): readonly ReleaseView[];
  /** @throws FairleadError NOT_FOUND */
  get(sequence: number): ReleaseView;
  /** The one that is meant, the newest that is ready unless said otherwise. @throws FairleadError NOT_FOUND, CONFLICT */
  chosen(which: { sequence?: number | undefined; version?: string | undefined }): ReleaseView;
  /** @throws FairleadError RELEASE_INVALID, VALIDATION, CONFLICT */
  add(files: readonly SignedRelease[], actor: Actor): Promise<ReleaseView>;
  /** @throws FairleadError NOT_FOUND, CONFLICT, RELEASE_INVALID, STORE_FULL, the signal's reason */
  receive(platform: ReleasePlatform, body: Readable, actor: Actor, signal: AbortSignal): Promise<ReleaseView>;
  /** @throws FairleadError NOT_FOUND, CONFLICT */
  remove(sequence: number, actor: Actor): Promise<void>;
}

export interface HostUpgradesService {
  /** @throws FairleadError HOST_NOT_FOUND, NOT_FOUND, UNSUPPORTED, CONFLICT */
  wish(ref: string, options: { release: ReleaseView; by: Actor }): Promise<Wish>;
  /** @throws FairleadError HOST_NOT_FOUND, NOT_FOUND, CONFLICT */
  cancel(ref: string, by: Actor): Promise<void>;
}
