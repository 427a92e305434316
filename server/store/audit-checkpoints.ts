/** Table `audit_checkpoints`: what the CA has signed of the audit log. */
import type { Selectable } from 'kysely';
import type { SignedCheckpoint } from '../../shared/audit-chain.ts';
import type { AuditCheckpointsTable } from './schema.ts';
import type { Db } from './tables.ts';

export interface AuditCheckpoints {
  insert(checkpoint: SignedCheckpoint): Promise<void>;
  /** The one made last, of one kind. */
  last(kind: SignedCheckpoint['kind']): Promise<SignedCheckpoint | undefined>;
  /** The highest sequence number, by which a reader leaves out what is made after it began. */
  lastSeq(): Promise<number>;
  /** Heads on rows above `after` and up to `to`, made up to `seq`, in the order of their rows. */
  heads(after: number, to: number, seq: number, limit: number): Promise<SignedCheckpoint[]>;
  /** Deletes every second head of the older half if there are more than `most`: what is later speaks for those, too. */
  thin(most: number): Promise<void>;
  /** Deletes the heads on rows up to `id`, and all anchors but the last. */
  dropThrough(id: number): Promise<void>;
}

export function auditCheckpointsTable(db: Db): AuditCheckpoints {
  const checkpoints = () => db.selectFrom('audit_checkpoints').selectAll();
  return {
    async insert({ kind, id, hash, count, at, signer, signature }) {
      await db
        .insertInto('audit_checkpoints')
        .values({ kind, row_id: id, row_hash: hash, count, at, signer, signature })
        .execute();
    },

    async last(kind) {
      const row = await checkpoints().where('kind', '=', kind).orderBy('seq', 'desc').limit(1).executeTakeFirst();
      return row && toCheckpoint(row);
    },

    async lastSeq() {
      const row = await db
        .selectFrom('audit_checkpoints')
        .select((e) => e.fn.max('seq').as('seq'))
        .executeTakeFirst();
      return row?.seq ?? 0;
    },

    async heads(after, to, seq, limit) {
      const rows = await checkpoints()
        .where('kind', '=', 'head')
        .where('row_id', '>', after)
        .where('row_id', '<=', to)
        .where('seq', '<=', seq)
        .orderBy('row_id')
        .orderBy('seq')
        .limit(limit)
        .execute();
      return rows.map(toCheckpoint);
    },

    async thin(most) {
      const rows = await db
        .selectFrom('audit_checkpoints')
        .select('seq')
        .where('kind', '=', 'head')
        .orderBy('seq')
        .execute();
      if (rows.length <= most) return;
      const dropped = rows.slice(0, Math.floor(rows.length / 2)).filter((_, index) => index % 2 === 1);
      for (const { seq } of dropped) await db.deleteFrom('audit_checkpoints').where('seq', '=', seq).execute();
    },

    async dropThrough(id) {
      await db.deleteFrom('audit_checkpoints').where('kind', '=', 'head').where('row_id', '<=', id).execute();
      await db
        .deleteFrom('audit_checkpoints')
        .where('kind', '=', 'anchor')
        .where('seq', '<', (e) =>
          e
            .selectFrom('audit_checkpoints')
            .select((f) => f.fn.max('seq').as('seq'))
            .where('kind', '=', 'anchor'),
        )
        .execute();
    },
  };
}

function toCheckpoint(row: Selectable<AuditCheckpointsTable>): SignedCheckpoint {
  const { kind, row_id: id, row_hash: hash, count, at, signer, signature } = row;
  return { kind: kind === 'anchor' ? 'anchor' : 'head', id, hash, count, at, signer, signature };
}
