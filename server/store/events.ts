/** Table `events`: what happened on hosts and to them. Rows are only ever added, and dropped from the oldest on. */
import { CompiledQuery, type Selectable } from 'kysely';
import { type HostScope, inScope } from './host-scope.ts';
import { placeholders } from './many-rows.ts';
import { type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import type { EventsTable } from './schema.ts';
import type { Db } from './tables.ts';

export interface NewEvent {
  /** When it happened, µs since 1970, by the clock of whoever noticed it. */
  readonly timeMicros: number;
  readonly hostId: string | undefined;
  /** The host's name at that time. */
  readonly host: string | undefined;
  /** As `container.start`. */
  readonly type: string;
  /** Docker's own word where the type does not say all of it. */
  readonly action: string | undefined;
  /** What it happened to, as the id of a container. */
  readonly subject: string | undefined;
  /** A JSON object of strings. */
  readonly attributes: string;
}

export interface EventRow extends NewEvent {
  /** Rises by 1 from each event to the next. */
  readonly id: number;
  /** When it was taken in, ms since 1970. */
  readonly at: number;
}

export interface EventFilter {
  /** Those of this host alone. */
  readonly hostId?: string | undefined;
  /** Those of hosts that are in all of these now. */
  readonly scopes?: readonly HostScope[] | undefined;
  /** What the type is or begins with: `container.start`, `container` for all of that family, `container.exec*`. Any of them. */
  readonly types?: readonly string[] | undefined;
  /** µs since 1970; of this time or later. */
  readonly sinceMicros?: number | undefined;
  /** µs since 1970; before this time. */
  readonly untilMicros?: number | undefined;
}

export interface Events {
  /** In one statement. */
  append(rows: readonly EventRow[]): Promise<void>;
  /** The first and the last one. */
  bounds(): Promise<{ first: number; last: number } | undefined>;
  /**
   * Those behind `after` that fit, in their order, of a slice of bounded size.
   * @returns with how far the table was looked through
   */
  read(after: number, limit: number, filter?: EventFilter): Promise<{ rows: EventRow[]; upTo: number }>;
  /** Newest first. */
  list(page: PageRequest, filter?: EventFilter): Promise<Page<EventRow>>;
  /** The last ones of a host, oldest first. */
  lastOf(hostId: string, limit: number): Promise<EventRow[]>;
  /** The last one that was taken in before `at` (ms since 1970), of those up to `to`. */
  lastBefore(at: number, to: number): Promise<number | undefined>;
  /** About how many bytes those behind `after` up to `to` take. Reads all of them. */
  bytesOf(after: number, to: number): Promise<number>;
  /** Deletes those up to `id`. */
  dropThrough(id: number): Promise<void>;
}

/** Rows of one statement. */
export const MAX_EVENT_ROWS = 32;
/** Rows that one statement looks at: a search must not hold up the server, however many there are. */
const SEARCH_ROWS = 5_000;
/** What a row takes besides its texts, its place in the index included. */
const ROW_BYTES = 100;
const COLUMNS = ['id', 'at', 'time_micros', 'host_id', 'host', 'type', 'action', 'subject', 'attributes'] as const;

export function eventsTable(db: Db): Events {
  return {
    async append(rows) {
      if (rows.length === 0) return;
      const values = rows.flatMap(toValues);
      const sql = `insert into events (${COLUMNS.join(', ')}) values ${placeholders(rows.length, COLUMNS.length)}`;
      await db.executeQuery(CompiledQuery.raw(sql, values));
    },

    bounds: () => bounds(db),

    async read(after, limit, filter = {}) {
      const last = (await bounds(db))?.last ?? after;
      // One host's are found by an index, however far they are from each other.
      const end = filter.hostId === undefined ? Math.min(last, after + SEARCH_ROWS) : last;
      const found = await matching(db, filter)
        .where('id', '>', after)
        .where('id', '<=', end)
        .orderBy('id')
        .limit(limit)
        .execute();
      const upTo = found.length === limit ? (found.at(-1)?.id ?? end) : Math.max(after, end);
      return { rows: found.map(toRow), upTo };
    },

    async list(page, filter = {}) {
      const limit = pageLimit(page);
      const found = await search(db, filter, pageStart(page, 'number')?.[0], limit + 1);
      return toPage(found, limit, (row) => [row.id, ''], toRow);
    },

    async lastOf(hostId, limit) {
      const rows = await matching(db, { hostId }).orderBy('id', 'desc').limit(limit).execute();
      return rows.map(toRow).reverse();
    },

    async lastBefore(at, to) {
      // Times of taking in rise with the ids: halving finds the place without an index.
      const known = await bounds(db);
      if (known === undefined) return undefined;
      let [low, high] = [known.first - 1, Math.min(known.last, to)];
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        const row = await db
          .selectFrom('events')
          .select('at')
          .where('id', '<=', middle)
          .orderBy('id', 'desc')
          .limit(1)
          .executeTakeFirst();
        if (row !== undefined && row.at < at) low = middle;
        else high = middle - 1;
      }
      return low < known.first ? undefined : low;
    },

    async bytesOf(after, to) {
      const texts = ['host_id', 'host', 'type', 'action', 'subject', 'attributes'];
      const size = texts.map((column) => `coalesce(octet_length(${column}), 0)`).join(' + ');
      const sql = `select coalesce(sum(${ROW_BYTES} + ${size}), 0) as bytes from events where id > ? and id <= ?`;
      const { rows } = await db.executeQuery<{ bytes: number }>(CompiledQuery.raw(sql, [after, to]));
      return rows[0]?.bytes ?? 0;
    },

    async dropThrough(id) {
      await db.deleteFrom('events').where('id', '<=', id).execute();
    },
  };
}

async function bounds(db: Db): Promise<{ first: number; last: number } | undefined> {
  const row = await db
    .selectFrom('events')
    .select((e) => [e.fn.min('id').as('first'), e.fn.max('id').as('last')])
    .executeTakeFirst();
  const { first, last } = row ?? {};
  return typeof first === 'number' && typeof last === 'number' ? { first, last } : undefined;
}

/** The newest rows below `before` that fit, found in steps of bounded work. */
async function search(
  db: Db,
  filter: EventFilter,
  before: number | undefined,
  limit: number,
): Promise<Selectable<EventsTable>[]> {
  const known = await bounds(db);
  if (known === undefined) return [];
  const found: Selectable<EventsTable>[] = [];
  const step = filter.hostId === undefined ? SEARCH_ROWS : Number.POSITIVE_INFINITY;
  for (let end = Math.min(before ?? known.last + 1, known.last + 1); end > known.first; end -= step) {
    const rows = await matching(db, filter)
      .where('id', '<', end)
      .where('id', '>=', Math.max(known.first, end - step))
      .orderBy('id', 'desc')
      .limit(limit - found.length)
      .execute();
    found.push(...rows);
    if (found.length >= limit) break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return found;
}

function matching(db: Db, { hostId, scopes = [], types, sinceMicros, untilMicros }: EventFilter) {
  let query = db.selectFrom('events').selectAll();
  if (hostId !== undefined) query = query.where('host_id', '=', hostId);
  for (const scope of scopes) query = query.where((e) => inScope(e.ref('events.host_id').$castTo<string>(), scope));
  if (types !== undefined) {
    query = query.where((e) =>
      e.or(
        types.map((type) => {
          const isOpen = type.endsWith('*');
          const start = isOpen ? type.slice(0, -1) : `${type}.`;
          const begins = e.and([e('type', '>=', start), e('type', '<', `${start}\u{10ffff}`)]);
          return isOpen ? begins : e.or([e('type', '=', type), begins]);
        }),
      ),
    );
  }
  if (sinceMicros !== undefined) query = query.where('time_micros', '>=', sinceMicros);
  if (untilMicros !== undefined) query = query.where('time_micros', '<', untilMicros);
  return query;
}

function toValues(row: EventRow): unknown[] {
  const { id, at, timeMicros, hostId, host, type, action, subject, attributes } = row;
  return [id, at, timeMicros, hostId ?? null, host ?? null, type, action ?? null, subject ?? null, attributes];
}

function toRow(row: Selectable<EventsTable>): EventRow {
  return {
    id: row.id,
    at: row.at,
    timeMicros: row.time_micros,
    hostId: row.host_id ?? undefined,
    host: row.host ?? undefined,
    type: row.type,
    action: row.action ?? undefined,
    subject: row.subject ?? undefined,
    attributes: row.attributes,
  };
}
