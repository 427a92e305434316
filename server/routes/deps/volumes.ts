/** What the routes need of transfers of volumes between hosts. */
import type { HostScope } from '../../access/scope.ts';
import type { Actor } from './caller.ts';
import type { Maybe, Page, Paged, Time } from './rows.ts';

interface VolumeEnd {
  readonly hostId: string;
  readonly volume: string;
}

export interface VolumeTransferRecord {
  readonly id: string;
  readonly from: VolumeEnd;
  readonly to: VolumeEnd;
  readonly replaces: boolean;
  readonly forced: boolean;
  readonly state: 'queued' | 'running' | 'waiting' | 'done' | 'failed' | 'cancelled';
  readonly step?: Maybe<'transfer' | 'apply'>;
  readonly bytes: number;
  readonly total?: Maybe<number>;
  readonly carried: number;
  /** Bytes a second. */
  readonly rate?: Maybe<number>;
  readonly resumes: number;
  readonly restarts: number;
  readonly note?: Maybe<string>;
  readonly code?: Maybe<string>;
  readonly detail?: Maybe<string>;
  readonly createdBy: string;
  readonly createdAt: Time;
  readonly endedAt?: Maybe<Time>;
}

export interface VolumeTransfersService {
  /** @throws FairleadError CONFLICT, OVERLOADED, VALIDATION */
  create(
    request: { from: VolumeEnd; to: VolumeEnd; replaces: boolean; forced: boolean },
    actor: Actor,
  ): Promise<VolumeTransferRecord>;
  /** @throws FairleadError NOT_FOUND */
  get(id: string): Promise<VolumeTransferRecord>;
  /** Newest first; with a scope those of which both hosts are in it. */
  list(page: Page, scope: HostScope | undefined): Promise<Paged<VolumeTransferRecord>>;
  /** @throws FairleadError NOT_FOUND, CONFLICT */
  cancel(id: string): Promise<void>;
  /** Calls `listener` after each change of a transfer that has not ended. @returns a function that stops it */
  watch(id: string, listener: () => void): () => void;
}
