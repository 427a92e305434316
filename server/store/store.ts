/** The embedded store: one SQLite file in the data directory, held by one server. */
import { statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import type { Kysely } from 'kysely';
import type { Clock } from '../../shared/clock.ts';
import { type ApiTokenRows, apiTokensTable } from './api-tokens.ts';
import { type AuditCheckpoints, auditCheckpointsTable } from './audit-checkpoints.ts';
import { type AuditRows, auditTable } from './audit-rows.ts';
import { type AuditSinks, auditSinksTable } from './audit-sinks.ts';
import { type Certificates, certificatesTable } from './certificates.ts';
import { type EnrollmentTokens, enrollmentTokensTable } from './enrollment-tokens.ts';
import { type EventSources, eventSourcesTable } from './event-sources.ts';
import { type Events, eventsTable } from './events.ts';
import { type HawserStandardRows, hawserStandardTable } from './hawser-standard.ts';
import { type HawserTokenRows, hawserTokensTable } from './hawser-tokens.ts';
import { type HostMetricRows, hostMetricsTable } from './host-metrics.ts';
import { type HostTrust, hostTrustTable } from './host-trust.ts';
import { type Hosts, hostsTable } from './hosts.ts';
import { type DirectoryLock, lockDirectory } from './lock.ts';
import { migrate } from './migrate.ts';
import { type OperatorCertificateRows, operatorCertificatesTable } from './operator-certificates.ts';
import { createPrivateDirectory, createPrivateFile } from './private-files.ts';
import { type Recoveries, recoveriesTable } from './recoveries.ts';
import { finishReplacement } from './replace-content.ts';
import { type Revocation, RevocationJournal } from './revocation-journal.ts';
import type { Schema } from './schema.ts';
import { type Settings, settingsTable } from './settings.ts';
import { type Snapshot, takeSnapshot } from './snapshot.ts';
import { insideTransaction, openKysely } from './sqlite.ts';
import { type StackMigrationRows, stackMigrationsTable } from './stack-migrations.ts';
import { type StackRevisions, stackRevisionsTable } from './stack-revisions.ts';
import { storeError } from './store-errors.ts';
import type { Db, Note } from './tables.ts';
import { removeTemporaries } from './temporary.ts';
import { type UserRows, usersTable } from './users.ts';
import { type VolumeTransferRows, volumeTransfersTable } from './volume-transfers.ts';
import { type Webhooks, webhooksTable } from './webhooks.ts';

const DATABASE_FILE = 'fairlead.db';
const JOURNAL_FILE = 'revoked.ndjson';
/** How long a statement (and the event loop with it) waits for another process that writes to the file. */
const BUSY_TIMEOUT_MS = 1_000;
/** Larger files are not read through at start; damage in them shows when it is met. */
const MAX_CHECKED_BYTES = 256 * 1024 * 1024;
/** How long the result of `check` stands, so that asking often costs nothing. */
const CHECK_VALID_MS = 2_000;

/** The tables, on the store itself or inside one transaction. */
export interface Tables {
  readonly hosts: Hosts;
  readonly certificates: Certificates;
  readonly enrollmentTokens: EnrollmentTokens;
  readonly apiTokens: ApiTokenRows;
  readonly audit: AuditRows;
  readonly auditCheckpoints: AuditCheckpoints;
  readonly auditSinks: AuditSinks;
  readonly hostTrust: HostTrust;
  readonly settings: Settings;
  readonly operatorCertificates: OperatorCertificateRows;
  readonly users: UserRows;
  readonly recoveries: Recoveries;
  readonly volumeTransfers: VolumeTransferRows;
  readonly stackRevisions: StackRevisions;
  readonly stackMigrations: StackMigrationRows;
  readonly events: Events;
  readonly eventSources: EventSources;
  readonly webhooks: Webhooks;
  readonly hostMetrics: HostMetricRows;
  readonly hawserTokens: HawserTokenRows;
  readonly hawserStandard: HawserStandardRows;
}

type JournalListener = (error: Error, revocations: readonly Revocation[]) => void;

export interface StoreOptions {
  /** Made if it does not exist. */
  readonly dataDir: string;
  readonly clock: Clock;
}

/**
 * Opens the store and brings its schema up to date.
 * @throws FairleadError CONFLICT if another server uses the directory or a newer one has made the store; STORE_FULL,
 * STORE_UNAVAILABLE if it cannot be used.
 */
export async function openStore({ dataDir, clock }: StoreOptions): Promise<Store> {
  const directory = resolve(dataDir);
  let lock: DirectoryLock | undefined;
  let database: Database.Database | undefined;
  try {
    createPrivateDirectory(directory, DATABASE_FILE);
    lock = lockDirectory(directory);
    removeTemporaries(directory);
    finishReplacement(directory);
    database = openDatabase(join(directory, DATABASE_FILE));
    const db = openKysely<Schema>(database, (cause) => storeError(cause, directory));
    await migrate(db);
    const journal = await RevocationJournal.open(join(directory, JOURNAL_FILE), clock.now());
    return new Store(db, directory, { lock, journal }, clock);
  } catch (cause) {
    database?.close();
    lock?.release();
    throw storeError(cause, directory);
  }
}

function openDatabase(file: string): Database.Database {
  createPrivateFile(file);
  const database = new Database(file, { timeout: BUSY_TIMEOUT_MS });
  try {
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = NORMAL');
    database.pragma('foreign_keys = ON');
    database.pragma('trusted_schema = OFF');
    if (statSync(file).size <= MAX_CHECKED_BYTES) checkIntegrity(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Reads the whole file, so that damage is found before anything is built on it. */
function checkIntegrity(database: Database.Database): void {
  const found = database.pragma('quick_check(1)', { simple: true });
  if (found !== 'ok') throw new Database.SqliteError(String(found), 'SQLITE_CORRUPT');
}

/** The open store. */
export class Store implements Tables {
  readonly db: Kysely<Schema>;
  readonly hosts: Hosts;
  readonly certificates: Certificates;
  readonly enrollmentTokens: EnrollmentTokens;
  readonly apiTokens: ApiTokenRows;
  readonly audit: AuditRows;
  readonly auditCheckpoints: AuditCheckpoints;
  readonly auditSinks: AuditSinks;
  readonly hostTrust: HostTrust;
  readonly settings: Settings;
  readonly operatorCertificates: OperatorCertificateRows;
  readonly users: UserRows;
  readonly recoveries: Recoveries;
  readonly volumeTransfers: VolumeTransferRows;
  readonly stackRevisions: StackRevisions;
  readonly stackMigrations: StackMigrationRows;
  readonly events: Events;
  readonly eventSources: EventSources;
  readonly webhooks: Webhooks;
  readonly hostMetrics: HostMetricRows;
  readonly hawserTokens: HawserTokenRows;
  readonly hawserStandard: HawserStandardRows;
  /** The data directory, absolute. */
  readonly dataDir: string;
  /** What was revoked, whatever database is in place. All that the tables revoke is in it before their callers go on. */
  readonly journal: RevocationJournal;
  readonly #lock: DirectoryLock;
  readonly #clock: Clock;
  #checked: { at: number; result: Promise<void> } | undefined;
  #closing: Promise<void> | undefined;
  #log: Promise<FileHandle> | undefined;

  #onUnjournaled: JournalListener = (error) => process.emitWarning(error);

  constructor(
    db: Kysely<Schema>,
    dataDir: string,
    { lock, journal }: { lock: DirectoryLock; journal: RevocationJournal },
    clock: Clock,
  ) {
    this.db = db;
    this.journal = journal;
    const tables = tablesOn(db, (...revocations) => this.#write(revocations));
    this.hosts = tables.hosts;
    this.certificates = tables.certificates;
    this.enrollmentTokens = tables.enrollmentTokens;
    this.apiTokens = tables.apiTokens;
    this.audit = tables.audit;
    this.auditCheckpoints = tables.auditCheckpoints;
    this.auditSinks = tables.auditSinks;
    this.hostTrust = tables.hostTrust;
    this.settings = tables.settings;
    this.operatorCertificates = tables.operatorCertificates;
    this.users = tables.users;
    this.recoveries = tables.recoveries;
    this.volumeTransfers = tables.volumeTransfers;
    this.stackRevisions = tables.stackRevisions;
    this.stackMigrations = tables.stackMigrations;
    this.events = tables.events;
    this.eventSources = tables.eventSources;
    this.webhooks = tables.webhooks;
    this.hostMetrics = tables.hostMetrics;
    this.hawserTokens = tables.hawserTokens;
    this.hawserStandard = tables.hawserStandard;
    this.dataDir = dataDir;
    this.#lock = lock;
    this.#clock = clock;
  }

  /**
   * Runs `work` in one transaction: all of it stands afterwards, or nothing. `work` must use the tables it is given
   * (others would wait for it: they throw) and wait for nothing but them, since the whole store waits meanwhile.
   */
  async transaction<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    const revocations: Revocation[] = [];
    const note: Note = async (...noted) => void revocations.push(...noted);
    const result = await this.db.transaction().execute((tx) => insideTransaction(() => work(tablesOn(tx, note))));
    await this.#write(revocations);
    return result;
  }

  /** Calls `listener` with what was revoked and could not be written to the journal. The next start makes up for it. */
  onUnjournaled(listener: JournalListener): void {
    this.#onUnjournaled = listener;
  }

  /** What is revoked stays so even if the journal cannot be written: then that is reported, not thrown. */
  async #write(revocations: readonly Revocation[]): Promise<void> {
    try {
      await this.journal.append(revocations);
    } catch (cause) {
      const error = new Error('revocations are not in the journal: an older database would not know of them', {
        cause,
      });
      this.#onUnjournaled(error, revocations);
    }
  }

  /** @throws FairleadError STORE_FULL or STORE_UNAVAILABLE if the store cannot be written and read now. */
  async check(): Promise<void> {
    const now = this.#clock.monotonic();
    if (this.#checked === undefined || now - this.#checked.at >= CHECK_VALID_MS) {
      this.#checked = { at: now, result: this.settings.set('store.checked', Buffer.from(String(this.#clock.now()))) };
    }
    await this.#checked.result;
  }

  /**
   * Writes the store as it is at one moment into `file`, while it goes on; the event loop stays free. The caller removes
   * `file`, also after a failure.
   * @throws FairleadError STORE_FULL, STORE_UNAVAILABLE, or the reason of `signal`
   */
  async snapshot(file: string, signal: AbortSignal): Promise<Snapshot> {
    try {
      return await takeSnapshot(join(this.dataDir, DATABASE_FILE), file, signal);
    } catch (cause) {
      throw storeError(cause, this.dataDir);
    }
  }

  /**
   * Resolves once what was written by single statements is on the disk, as what transactions write already is. The disk
   * is waited for in the thread pool.
   * @throws FairleadError STORE_FULL, STORE_UNAVAILABLE
   */
  async synced(): Promise<void> {
    try {
      // SQLite's write-ahead log: it stays the same file while the store is open.
      this.#log ??= open(join(this.dataDir, `${DATABASE_FILE}-wal`), 'r');
      await (await this.#log).datasync();
    } catch (cause) {
      this.#log = undefined;
      throw storeError(cause, this.dataDir);
    }
  }

  /** Waits for what is running, then closes the file and frees the directory. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.db.destroy();
      await this.#log?.then((log) => log.close());
      await this.journal.close();
    } finally {
      this.#lock.release();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function tablesOn(db: Db, note: Note): Tables {
  return {
    hosts: hostsTable(db, note),
    certificates: certificatesTable(db, note),
    enrollmentTokens: enrollmentTokensTable(db, note),
    apiTokens: apiTokensTable(db, note),
    audit: auditTable(db),
    auditCheckpoints: auditCheckpointsTable(db),
    auditSinks: auditSinksTable(db),
    hostTrust: hostTrustTable(db),
    settings: settingsTable(db),
    operatorCertificates: operatorCertificatesTable(db, note),
    users: usersTable(db, note),
    recoveries: recoveriesTable(db),
    volumeTransfers: volumeTransfersTable(db),
    stackRevisions: stackRevisionsTable(db),
    stackMigrations: stackMigrationsTable(db),
    events: eventsTable(db),
    eventSources: eventSourcesTable(db),
    webhooks: webhooksTable(db, note),
    hostMetrics: hostMetricsTable(db),
    hawserTokens: hawserTokensTable(db, note),
    hawserStandard: hawserStandardTable(db),
  };
}
