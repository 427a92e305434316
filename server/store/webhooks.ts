/** Table `webhooks`: who gets events, how far, and how it goes. */
import type { Selectable } from 'kysely';
import { newestFirst, type Page, type PageRequest } from './page.ts';
import { removedWebhook } from './revocations.ts';
import type { WebhooksTable } from './schema.ts';
import type { Db, Note } from './tables.ts';

export interface NewWebhook {
  readonly id: string;
  readonly name: string | undefined;
  /** The URL and the secret, sealed. */
  readonly target: string;
  /** JSON of what it is to get. */
  readonly filter: string;
  readonly createdBy: string;
  /** ms since 1970. */
  readonly createdAt: number;
  /** The id of the last event that it has, or is not to get. */
  readonly position: number;
}

export interface WebhookProgress {
  readonly position: number;
  /** When it was last sent events, ms since 1970. */
  readonly deliveredAt: number | undefined;
  /** Since when all that is sent fails, ms since 1970; undefined: it does not. */
  readonly failingSince: number | undefined;
  readonly failures: number;
  /** What was last wrong. */
  readonly error: string | undefined;
}

export interface WebhookRow extends NewWebhook, WebhookProgress {}

export interface Webhooks {
  insert(webhook: NewWebhook): Promise<void>;
  find(id: string): Promise<WebhookRow | undefined>;
  all(): Promise<WebhookRow[]>;
  /** Newest first. */
  list(page: PageRequest): Promise<Page<WebhookRow>>;
  note(id: string, progress: WebhookProgress): Promise<void>;
  /** An older database does not bring it back. @param at ms since 1970 @returns whether there was such a one */
  delete(id: string, at: number): Promise<boolean>;
}

export function webhooksTable(db: Db, note: Note): Webhooks {
  const rows = () => db.selectFrom('webhooks').selectAll();
  return {
    async insert({ id, name, target, filter, createdBy, createdAt, position }) {
      const nothing = { delivered_at: null, failing_since: null, failures: 0, error: null };
      const values = { id, name: name ?? null, target, filter, created_by: createdBy, created_at: createdAt, position };
      await db
        .insertInto('webhooks')
        .values({ ...values, ...nothing })
        .execute();
    },

    async find(id) {
      const row = await rows().where('id', '=', id).executeTakeFirst();
      return row && toRow(row);
    },

    async all() {
      return (await rows().orderBy('created_at').execute()).map(toRow);
    },

    list: (page) => newestFirst(rows(), page, toRow),

    async note(id, { position, deliveredAt, failingSince, failures, error }) {
      const set = { position, delivered_at: deliveredAt ?? null, failing_since: failingSince ?? null };
      await db
        .updateTable('webhooks')
        .set({ ...set, failures, error: error ?? null })
        .where('id', '=', id)
        .execute();
    },

    async delete(id, at) {
      const { numDeletedRows } = await db.deleteFrom('webhooks').where('id', '=', id).executeTakeFirst();
      if (numDeletedRows === 0n) return false;
      await note(removedWebhook(id, at));
      return true;
    },
  };
}

function toRow(row: Selectable<WebhooksTable>): WebhookRow {
  return {
    id: row.id,
    name: row.name ?? undefined,
    target: row.target,
    filter: row.filter,
    createdBy: row.created_by,
    createdAt: row.created_at,
    position: row.position,
    deliveredAt: row.delivered_at ?? undefined,
    failingSince: row.failing_since ?? undefined,
    failures: row.failures,
    error: row.error ?? undefined,
  };
}
