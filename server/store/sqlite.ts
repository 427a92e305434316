/** Kysely over better-sqlite3: one connection, taken in turns, with prepared statements kept and errors translated. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type BetterSqlite3 from 'better-sqlite3';
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { FairleadError } from '../../shared/errors.ts';
import { keepRecent } from '../keep-recent.ts';

/** Prepared statements kept, those of late; lists and filters of many lengths would push out those in constant use. */
const MAX_STATEMENTS = 256;
/** Queries and transactions that may wait for the connection. */
const MAX_WAITING = 20_000;

/** Marks what runs inside a transaction's callback while that transaction is open. */
const current = new AsyncLocalStorage<{ open: boolean }>();

/**
 * Runs the callback of a transaction. While it runs, a query that asks for the connection from outside of the
 * transaction would wait for it for ever; instead it throws at once.
 */
export async function insideTransaction<T>(run: () => Promise<T>): Promise<T> {
  const mark = { open: true };
  try {
    return await current.run(mark, run);
  } finally {
    mark.open = false;
  }
}

/** Whether the caller runs inside of a transaction that is open. */
export function isInsideTransaction(): boolean {
  return current.getStore()?.open ?? false;
}

/** @param translate turns what SQLite throws into what callers see. */
function sqliteDialect(database: BetterSqlite3.Database, translate: (cause: unknown) => unknown): Dialect {
  return {
    createDriver: () => new SqliteDriver(database, translate),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new TurnTakingAdapter(),
    createIntrospector: (db) => new SqliteIntrospector(db),
  };
}

/** The driver below takes turns itself: Kysely's own mutex wakes every waiter at each release. */
class TurnTakingAdapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true;
  }
}

class SqliteDriver implements Driver {
  readonly #database: BetterSqlite3.Database;
  readonly #connection: SqliteConnection;
  readonly #waiting: (() => void)[] = [];
  #taken = false;

  constructor(database: BetterSqlite3.Database, translate: (cause: unknown) => unknown) {
    this.#database = database;
    this.#connection = new SqliteConnection(database, translate);
  }

  async init(): Promise<void> {
    // The database is open already.
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    if (current.getStore()?.open) throw new Error('a query outside of the transaction was made inside of it');
    if (!this.#taken) {
      this.#taken = true;
      return this.#connection;
    }
    if (this.#waiting.length >= MAX_WAITING) {
      throw new FairleadError('OVERLOADED', 'too many queries wait for the store', { retryAfterSeconds: 1 });
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.#connection;
  }

  async releaseConnection(): Promise<void> {
    const next = this.#waiting.shift();
    if (next === undefined) this.#taken = false;
    else next();
  }

  /** Transactions are what must not be lost: their commits wait for the disk. Single statements survive a crash alone. */
  async beginTransaction(): Promise<void> {
    this.#connection.run('pragma synchronous = full');
    this.#connection.run('begin immediate');
    this.#connection.inTransaction = true;
  }

  async commitTransaction(): Promise<void> {
    this.#connection.run('commit');
    this.#endTransaction();
  }

  async rollbackTransaction(): Promise<void> {
    // After some errors (a full disk is one) SQLite has already rolled back by itself.
    this.#connection.inTransaction = false;
    if (this.#database.inTransaction) this.#connection.run('rollback');
    this.#endTransaction();
  }

  #endTransaction(): void {
    this.#connection.inTransaction = false;
    this.#connection.run('pragma synchronous = normal');
  }

  async destroy(): Promise<void> {
    // It takes its turn behind what is running or waits already.
    await this.acquireConnection();
    this.#database.close();
  }
}

class SqliteConnection implements DatabaseConnection {
  /** Whether statements belong to a transaction that was begun and not yet ended by us. */
  inTransaction = false;
  readonly #database: BetterSqlite3.Database;
  readonly #translate: (cause: unknown) => unknown;
  readonly #statements = new Map<string, BetterSqlite3.Statement<unknown[]>>();

  constructor(database: BetterSqlite3.Database, translate: (cause: unknown) => unknown) {
    this.#database = database;
    this.#translate = translate;
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    return this.run<R>(sql, parameters);
  }

  run<R>(sql: string, parameters: readonly unknown[] = []): QueryResult<R> {
    if (this.inTransaction && !this.#database.inTransaction) {
      // Whoever went on after an error would otherwise write what no rollback takes back.
      throw new FairleadError('STORE_UNAVAILABLE', 'the transaction was rolled back after an error and cannot go on');
    }
    try {
      const statement = this.#prepare(sql);
      if (statement.reader) return { rows: statement.all(...parameters) as R[] };
      const { changes } = statement.run(...parameters);
      return { numAffectedRows: BigInt(changes), rows: [] };
    } catch (cause) {
      throw this.#translate(cause);
    }
  }

  // biome-ignore lint/correctness/useYield: the interface asks for a generator, and this store reads in pages instead
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('the store reads in pages, not in streams');
  }

  #prepare(sql: string): BetterSqlite3.Statement<unknown[]> {
    const known = this.#statements.get(sql);
    const statement = known ?? this.#database.prepare<unknown[]>(sql);
    keepRecent(this.#statements, sql, statement, MAX_STATEMENTS);
    return statement;
  }
}

/** A Kysely on `database`. */
export function openKysely<S>(database: BetterSqlite3.Database, translate: (cause: unknown) => unknown): Kysely<S> {
  return new Kysely<S>({ dialect: sqliteDialect(database, translate) });
}
