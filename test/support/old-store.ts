/** Stores as an earlier schema made them: for tests of what a newer version does to one. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { MIGRATIONS, migrate } from '../../server/store/migrate.ts';
import { openKysely } from '../../server/store/sqlite.ts';

/** An empty database with the first `steps` steps of the schema. The caller closes it. */
export async function oldDatabase(file: string, steps: number): Promise<Database.Database> {
  const database = new Database(file);
  database.pragma('journal_mode = WAL');
  await migrate(
    openKysely(database, (cause) => cause),
    MIGRATIONS.slice(0, steps),
  );
  return database;
}

/**
 * Makes of the store in `dataDir`, which nobody holds, one with the first `steps` steps of the schema and what fits into it.
 * @returns how many rows each of its tables has
 */
export async function takeBackTo(dataDir: string, steps: number): Promise<Record<string, number>> {
  const file = join(dataDir, 'fairlead.db');
  const old = await oldDatabase(`${file}.old`, steps);
  old.prepare('attach ? as now').run(file);
  const counts: Record<string, number> = {};
  const tables = old.prepare("select name from main.sqlite_schema where type = 'table' and name not like 'sqlite_%'");
  for (const table of tables.pluck().all() as string[]) {
    if (table === 'schema_version') continue;
    const columnsOf = (schema: string) =>
      old.prepare(`select name from pragma_table_info(?, '${schema}')`).pluck().all(table) as string[];
    const shared = columnsOf('now').filter((column) => columnsOf('main').includes(column));
    const list = shared.map((column) => `"${column}"`).join(', ');
    const { changes } = old.prepare(`insert into main."${table}" (${list}) select ${list} from now."${table}"`).run();
    counts[table] = changes;
  }
  // What a version of that time did not write.
  old.prepare("delete from settings where key = 'store.writer'").run();
  old.close();
  for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true });
  const moved = new Database(`${file}.old`);
  moved.prepare('vacuum into ?').run(file);
  moved.close();
  rmSync(`${file}.old`);
  return counts;
}
