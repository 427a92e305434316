/** The embedded store: one SQLite file in the data directory, held by one server. */
import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import type { Kysely } from 'kysely';
import type { Clock } from '../../shared/clock.ts';
import { type ApiTokenRows, apiTokensTable } from './api-tokens.ts';
import { type AuditRows, auditTable } from './audit-rows.ts';
import { type Certificates, certificatesTable } from './certificates.ts';
import { type EnrollmentTokens, enrollmentTokensTable } from './enrollment-tokens.ts';
import { type HostTrust, hostTrustTable } from './host-trust.ts';
import { type Hosts, hostsTable } from './hosts.ts';
import { type DirectoryLock, lockDirectory } from './lock.ts';
import { migrate } from './migrate.ts';
import { createPrivateDirectory, createPrivateFile } from './private-files.ts';
import type { Schema } from './schema.ts';
import { type Settings, settingsTable } from './settings.ts';
import { insideTransaction, openKysely } from './sqlite.ts';
import { storeError } from './store-errors.ts';
import type { Db } from './tables.ts';

const DATABASE_FILE = 'fairlead.db';
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
  readonly hostTrust: HostTrust;
  readonly settings: Settings;
}

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
    database = openDatabase(join(directory, DATABASE_FILE));
    const db = openKysely<Schema>(database, (cause) => storeError(cause, directory));
    await migrate(db);
    return new Store(db, directory, lock, clock);
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
  readonly hostTrust: HostTrust;
  readonly settings: Settings;
  /** The data directory, absolute. */
  readonly dataDir: string;
  readonly #lock: DirectoryLock;
  readonly #clock: Clock;
  #checked: { at: number; result: Promise<void> } | undefined;
  #closing: Promise<void> | undefined;

  constructor(db: Kysely<Schema>, dataDir: string, lock: DirectoryLock, clock: Clock) {
    this.db = db;
    const tables = tablesOn(db);
    this.hosts = tables.hosts;
    this.certificates = tables.certificates;
    this.enrollmentTokens = tables.enrollmentTokens;
    this.apiTokens = tables.apiTokens;
    this.audit = tables.audit;
    this.hostTrust = tables.hostTrust;
    this.settings = tables.settings;
    this.dataDir = dataDir;
    this.#lock = lock;
    this.#clock = clock;
  }

  /**
   * Runs `work` in one transaction: all of it stands afterwards, or nothing. `work` must use the tables it is given
   * (others would wait for it: they throw) and wait for nothing but them, since the whole store waits meanwhile.
   */
  async transaction<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return await this.db.transaction().execute((tx) => insideTransaction(() => work(tablesOn(tx))));
  }

  /** @throws FairleadError STORE_FULL or STORE_UNAVAILABLE if the store cannot be written and read now. */
  async check(): Promise<void> {
    const now = this.#clock.monotonic();
    if (this.#checked === undefined || now - this.#checked.at >= CHECK_VALID_MS) {
      this.#checked = { at: now, result: this.settings.set('store.checked', Buffer.from(String(this.#clock.now()))) };
    }
    await this.#checked.result;
  }

  /** Waits for what is running, then closes the file and frees the directory. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.db.destroy();
    } finally {
      this.#lock.release();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function tablesOn(db: Db): Tables {
  return {
    hosts: hostsTable(db),
    certificates: certificatesTable(db),
    enrollmentTokens: enrollmentTokensTable(db),
    apiTokens: apiTokensTable(db),
    audit: auditTable(db),
    hostTrust: hostTrustTable(db),
    settings: settingsTable(db),
  };
}
