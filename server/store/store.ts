/** The embedded store: one SQLite file in the data directory, held by one server. */
import { statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import type { Kysely } from 'kysely';
import type { Clock } from '../../shared/clock.ts';
import { VERSION } from '../../shared/version.ts';
import { type Tables, tablesOn } from './all-tables.ts';
import { type DirectoryLock, lockDirectory } from './lock.ts';
import { migrate } from './migrate.ts';
import { createPrivateDirectory, createPrivateFile } from './private-files.ts';
import { finishReplacement } from './replace-content.ts';
import { type Revocation, RevocationJournal } from './revocation-journal.ts';
import { copyBeforeUpgrade, type StoreUpgrade } from './safety-copy.ts';
import type { Schema } from './schema.ts';
import { readHeldSchemaState, refuseNewerSchema, WRITER_SETTING } from './schema-state.ts';
import { settingsTable } from './settings.ts';
import { type Snapshot, takeSnapshot } from './snapshot.ts';
import { insideTransaction, openKysely } from './sqlite.ts';
import { storeError } from './store-errors.ts';
import type { Note } from './tables.ts';
import { removeTemporaries } from './temporary.ts';

export const DATABASE_FILE = 'fairlead.db';
const JOURNAL_FILE = 'revoked.ndjson';
/** How long a statement (and the event loop with it) waits for another process that writes to the file. */
const BUSY_TIMEOUT_MS = 1_000;
/** Larger files are not read through at start; damage in them shows when it is met. */
const MAX_CHECKED_BYTES = 256 * 1024 * 1024;
/** How long the result of `check` stands, so that asking often costs nothing. */
const CHECK_VALID_MS = 2_000;

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
    const file = join(directory, DATABASE_FILE);
    const state = readHeldSchemaState(file);
    refuseNewerSchema(state, directory);
    const upgrade = await copyBeforeUpgrade({ dataDir: directory, file, state });
    database = openDatabase(file);
    const db = openKysely<Schema>(database, (cause) => storeError(cause, directory));
    await migrate(db);
    if (state.writer !== VERSION) await settingsTable(db).set(WRITER_SETTING, Buffer.from(VERSION));
    const journal = await RevocationJournal.open(join(directory, JOURNAL_FILE), clock.now());
    return new Store(db, directory, { lock, journal, upgrade }, clock);
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
  readonly hosts: Tables['hosts'];
  readonly certificates: Tables['certificates'];
  readonly enrollmentTokens: Tables['enrollmentTokens'];
  readonly apiTokens: Tables['apiTokens'];
  readonly audit: Tables['audit'];
  readonly auditCheckpoints: Tables['auditCheckpoints'];
  readonly auditSinks: Tables['auditSinks'];
  readonly hostTrust: Tables['hostTrust'];
  readonly settings: Tables['settings'];
  readonly operatorCertificates: Tables['operatorCertificates'];
  readonly users: Tables['users'];
  readonly recoveries: Tables['recoveries'];
  readonly volumeTransfers: Tables['volumeTransfers'];
  readonly stackRevisions: Tables['stackRevisions'];
  readonly stackMigrations: Tables['stackMigrations'];
  readonly events: Tables['events'];
  readonly eventSources: Tables['eventSources'];
  readonly webhooks: Tables['webhooks'];
  readonly hostMetrics: Tables['hostMetrics'];
  readonly hawserTokens: Tables['hawserTokens'];
  readonly hawserStandard: Tables['hawserStandard'];
  readonly releases: Tables['releases'];
  readonly hostUpgrades: Tables['hostUpgrades'];
  readonly rollouts: Tables['rollouts'];
  /** The data directory, absolute. */
  readonly dataDir: string;
  /** What was revoked, whatever database is in place. All that the tables revoke is in it before their callers go on. */
  readonly journal: RevocationJournal;
  /** What was done to the schema as the store was opened; undefined: nothing, or there was no store. */
  readonly upgrade: StoreUpgrade | undefined;
  readonly #lock: DirectoryLock;
  readonly #clock: Clock;
  #checked: { at: number; result: Promise<void> } | undefined;
  #closing: Promise<void> | undefined;
  #log: Promise<FileHandle> | undefined;

  #onUnjournaled: JournalListener = (error) => process.emitWarning(error);

  constructor(
    db: Kysely<Schema>,
    dataDir: string,
    { lock, journal, upgrade }: { lock: DirectoryLock; journal: RevocationJournal; upgrade: StoreUpgrade | undefined },
    clock: Clock,
  ) {
    this.db = db;
    this.journal = journal;
    this.upgrade = upgrade;
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
    this.releases = tables.releases;
    this.hostUpgrades = tables.hostUpgrades;
    this.rollouts = tables.rollouts;
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
