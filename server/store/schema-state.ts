/** What a database says of its schema and of who used it last, read before a byte of it is changed. */
import { existsSync, rmSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { FairleadError } from '../../shared/errors.ts';
import { VERSION } from '../../shared/version.ts';
import { SCHEMA_VERSION } from './migrate.ts';

/** The setting that names the version of Fairlead that opened the store last. */
export const WRITER_SETTING = 'store.writer';
/** What SQLite lays beside a database that it reads. */
const BESIDE = ['-wal', '-shm'] as const;

export interface SchemaState {
  /** 0: there is no schema yet. */
  readonly schemaVersion: number;
  /** The version of Fairlead that opened the store last; undefined where it did not say so. */
  readonly writer: string | undefined;
}

/** Reads the database `file`, which need not exist. @throws SQLite's error */
export function readSchemaState(file: string): SchemaState {
  if (!existsSync(file) || statSync(file).size === 0) return { schemaVersion: 0, writer: undefined };
  const database = new Database(file, { readonly: true });
  try {
    const has = (table: string) =>
      database.prepare("select 1 from sqlite_schema where type = 'table' and name = ?").get(table) !== undefined;
    if (!has('schema_version')) return { schemaVersion: 0, writer: undefined };
    const schemaVersion = database.prepare('select max(version) from schema_version').pluck().get() as number | null;
    const read = () => database.prepare('select value from settings where key = ?').pluck().get(WRITER_SETTING);
    const writer = has('settings') ? (read() as Uint8Array | undefined) : undefined;
    return {
      schemaVersion: schemaVersion ?? 0,
      writer: writer === undefined ? undefined : Buffer.from(writer).toString('utf8'),
    };
  } finally {
    database.close();
  }
}

/** The same by the holder of the directory's lock, who leaves no file that was not there. */
export function readHeldSchemaState(file: string): SchemaState {
  const made = BESIDE.map((suffix) => file + suffix).filter((beside) => !existsSync(beside));
  try {
    return readSchemaState(file);
  } finally {
    // A log that is new is empty, since nothing was written.
    for (const beside of made) rmSync(beside, { force: true });
  }
}

/** @throws FairleadError CONFLICT if this version cannot read the store in `dataDir` */
export function refuseNewerSchema({ schemaVersion, writer }: SchemaState, dataDir: string): void {
  if (schemaVersion <= SCHEMA_VERSION) return;
  const maker = writer === undefined ? 'a newer fairlead-server' : `the newer fairlead-server ${writer}`;
  throw new FairleadError(
    'CONFLICT',
    `the store in ${dataDir} has schema version ${schemaVersion}, made by ${maker}, and this is ${VERSION}, which knows up to ${SCHEMA_VERSION}: start ${writer ?? 'the newer version'} again, or put back what was before the upgrade (fairlead.db.before-… or a backup)`,
  );
}
