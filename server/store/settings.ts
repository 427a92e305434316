/** Table `settings`: single values of the installation, such as its id and the sealed key of its CA. */
import type { Db } from './tables.ts';

export interface Settings {
  get(key: string): Promise<Buffer | undefined>;
  set(key: string, value: Uint8Array): Promise<void>;
  /** Sets the value, on disk before it returns, if the key has none yet. @returns the value that stands. */
  setOnce(key: string, value: Uint8Array): Promise<Buffer>;
  delete(key: string): Promise<void>;
}

export function settingsTable(db: Db): Settings {
  const get = async (key: string): Promise<Buffer | undefined> => {
    const row = await db.selectFrom('settings').select('value').where('key', '=', key).executeTakeFirst();
    return row && Buffer.from(row.value);
  };
  return {
    get,
    async set(key, value) {
      await db
        .insertInto('settings')
        .values({ key, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute();
    },
    async setOnce(key, value) {
      const set = async (tx: Db): Promise<Buffer> => {
        await tx
          .insertInto('settings')
          .values({ key, value })
          .onConflict((conflict) => conflict.column('key').doNothing())
          .execute();
        const row = await tx.selectFrom('settings').select('value').where('key', '=', key).executeTakeFirstOrThrow();
        return Buffer.from(row.value);
      };
      return await (db.isTransaction ? set(db) : db.transaction().execute(set));
    },
    async delete(key) {
      await db.deleteFrom('settings').where('key', '=', key).execute();
    },
  };
}
