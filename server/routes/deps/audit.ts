/** What the routes need of the audit log. */
import type { ChainFault, ChainSummary } from '../../../shared/audit-chain.ts';
import type { AuditRow } from '../schemas.ts';
import type { Maybe, Page, Paged, Time } from './rows.ts';

export interface AuditRecord {
  readonly id: number | string;
  readonly at: Time;
  readonly actor: string;
  readonly address?: Maybe<string>;
  readonly action: string;
  readonly target?: Maybe<string>;
  readonly result: AuditRow['result'];
  readonly detail?: Maybe<Readonly<Record<string, unknown>>>;
  readonly hash?: Maybe<string>;
}

/** Which rows of the audit log are asked for. */
export interface AuditQuery {
  readonly actor?: string;
  readonly address?: string;
  /** What the action begins with. */
  readonly action?: string;
  /** Any of these, or what is inside of one. */
  readonly targets?: readonly string[];
  readonly result?: AuditRow['result'];
  /** ms since 1970. */
  readonly since?: number;
  readonly until?: number;
}

export interface AuditEntry {
  actor: string;
  address?: string;
  action: string;
  target?: string;
  result: 'ok' | 'refused' | 'failed';
  detail?: Record<string, unknown>;
}

export interface AuditService {
  /** @throws FairleadError STORE_FULL, STORE_UNAVAILABLE */
  record(entry: AuditEntry): Promise<unknown>;
  /** As `record`, but writes the row to the log if it must. Never throws. */
  recordOrLog(entry: AuditEntry): Promise<unknown>;
  list(page: Page, filter?: AuditQuery): Promise<Paged<AuditRecord>>;
}

/** The whole of the audit log: checked, and to take away. */
export interface AuditTrailService {
  /** What is wrong with it at the first place where something is, or what it comes to. @throws FairleadError CONFLICT */
  verify(): Promise<ChainFault | ChainSummary>;
  /** NDJSON, in pieces. */
  export(): AsyncIterable<string>;
}
