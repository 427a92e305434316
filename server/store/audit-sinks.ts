/** Table `audit_sinks`: the last row of the audit log that each receiver has. */
import type { Db } from './tables.ts';

/** Receivers that are remembered, those in use among them; the ones that got something last. */
const MAX_SINKS = 16;

export interface AuditSinks {
  /** The id of the last row that `sink` has; 0 if it is new. */
  position(sink: string): Promise<number>;
  advance(sink: string, id: number, at: number): Promise<void>;
}

export function auditSinksTable(db: Db): AuditSinks {
  return {
    async position(sink) {
      const row = await db.selectFrom('audit_sinks').select('row_id').where('sink', '=', sink).executeTakeFirst();
      return row?.row_id ?? 0;
    },

    async advance(sink, id, at) {
      const values = { row_id: id, at };
      await db
        .insertInto('audit_sinks')
        .values({ sink, ...values })
        .onConflict((conflict) => conflict.column('sink').doUpdateSet(values))
        .execute();
      const known = await db.selectFrom('audit_sinks').select('sink').orderBy('at', 'desc').execute();
      for (const { sink: oldest } of known.slice(MAX_SINKS)) {
        await db.deleteFrom('audit_sinks').where('sink', '=', oldest).execute();
      }
    },
  };
}
