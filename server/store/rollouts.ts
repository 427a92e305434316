/** Tables `rollouts` and `rollout_hosts`: releases that are brought to many hosts, and how far each is. Rows outlive their hosts. */
import type { Insertable, Selectable } from 'kysely';
import Type from 'typebox';
import { validate } from '../../shared/validate.ts';
import { newestFirst, type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import type { RolloutHostsTable, RolloutsTable } from './schema.ts';
import { type Db, forgetEnded } from './tables.ts';

export type RolloutState = 'planned' | 'running' | 'paused' | 'halted' | 'done' | 'aborted';

/** How far a rollout is. Times are ms since 1970. */
export interface RolloutProgress {
  readonly state: RolloutState;
  /** The stage that goes on, from 0 up. */
  readonly stage: number;
  /** When that stage begins, or has begun. */
  readonly stageAt: number;
  /** Why it is paused or halted. */
  readonly reason: string | undefined;
  /** Failures that were known when it was last resumed: they do not halt it once more. */
  readonly forgiven: number;
  readonly endedAt: number | undefined;
}

/** All but the first two are ends. */
export type RolloutHostState = 'pending' | 'asked' | 'done' | 'failed' | 'skipped' | 'cancelled';

export interface RolloutHost {
  readonly hostId: string;
  /** The order in which hosts are asked. */
  readonly place: number;
  /** From 0 up; -1: in none, since the release is not for this host. */
  readonly stage: number;
  readonly state: RolloutHostState;
  readonly askedAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly code: string | undefined;
  readonly detail: string | undefined;
}

export interface NewRollout {
  readonly id: string;
  readonly sequence: number;
  readonly version: string;
  /** JSON: what was asked for. */
  readonly plan: string;
  readonly createdBy: string;
  readonly createdAt: number;
}

export interface RolloutRow extends NewRollout {
  readonly progress: RolloutProgress;
}

/** So many hosts of one stage are in one state. */
export interface RolloutCount {
  readonly stage: number;
  readonly state: RolloutHostState;
  readonly hosts: number;
}

export interface RolloutRows {
  /** To be done in one transaction. */
  insert(row: RolloutRow, hosts: readonly RolloutHost[]): Promise<void>;
  find(id: string): Promise<RolloutRow | undefined>;
  /** Newest first. */
  list(page: PageRequest): Promise<Page<RolloutRow>>;
  /** Those that have not ended, oldest first. */
  active(): Promise<RolloutRow[]>;
  /** All hosts of a rollout, in the order in which they are asked. */
  hosts(id: string): Promise<RolloutHost[]>;
  /** A page of them, of those in `state` if that is given. */
  listHosts(id: string, page: PageRequest, state?: RolloutHostState): Promise<Page<RolloutHost>>;
  /** How many hosts of each stage are in each state. */
  count(id: string): Promise<RolloutCount[]>;
  /** Writes down how far it is, with those of its hosts that have changed. To be done in one transaction. */
  update(id: string, progress: RolloutProgress, hosts: readonly RolloutHost[]): Promise<void>;
  /** Forgets those that ended first, beyond `keep`. */
  prune(keep: number): Promise<void>;
}

/** Rows of one statement, which takes only so many values. */
const ROWS_PER_STATEMENT = 50;

export function rolloutsTable(db: Db): RolloutRows {
  const all = () => db.selectFrom('rollouts').selectAll();
  const hostsOf = (id: string) => db.selectFrom('rollout_hosts').selectAll().where('rollout_id', '=', id);

  return {
    async insert(row, hosts) {
      await db.insertInto('rollouts').values(fromRow(row)).execute();
      await putHosts(db, row.id, hosts);
    },

    async find(id) {
      const row = await all().where('id', '=', id).executeTakeFirst();
      return row && toRow(row);
    },

    list: (page) => newestFirst(all(), page, toRow),

    async active() {
      const rows = await all().where('ended_at', 'is', null).orderBy('created_at').orderBy('id').execute();
      return rows.map(toRow);
    },

    async hosts(id) {
      return (await hostsOf(id).orderBy('place').execute()).map(toHost);
    },

    async listHosts(id, page, state) {
      const limit = pageLimit(page);
      const start = pageStart(page, 'number');
      let query = hostsOf(id)
        .orderBy('place')
        .limit(limit + 1);
      if (state !== undefined) query = query.where('state', '=', state);
      if (start !== undefined) query = query.where('place', '>', start[0]);
      return toPage(await query.execute(), limit, (row) => [row.place, row.host_id], toHost);
    },

    async count(id) {
      const rows = await db
        .selectFrom('rollout_hosts')
        .select((e) => ['stage', 'state', e.fn.countAll<number>().as('hosts')])
        .where('rollout_id', '=', id)
        .groupBy(['stage', 'state'])
        .execute();
      return rows.map(({ stage, state, hosts }) => ({ stage, state: state as RolloutHostState, hosts: Number(hosts) }));
    },

    async update(id, progress, hosts) {
      await db.updateTable('rollouts').set(fromProgress(progress)).where('id', '=', id).execute();
      await putHosts(db, id, hosts);
    },

    async prune(keep) {
      await forgetEnded(db, 'rollouts', keep);
      await db
        .deleteFrom('rollout_hosts')
        .where('rollout_id', 'not in', (e) => e.selectFrom('rollouts').select('id'))
        .execute();
    },
  };
}

/** Makes the rows of hosts, or replaces what changes of them. */
async function putHosts(db: Db, id: string, hosts: readonly RolloutHost[]): Promise<void> {
  for (let from = 0; from < hosts.length; from += ROWS_PER_STATEMENT) {
    const rows = hosts.slice(from, from + ROWS_PER_STATEMENT).map((host) => fromHost(id, host));
    await db
      .insertInto('rollout_hosts')
      .values(rows)
      .onConflict((conflict) =>
        conflict.columns(['rollout_id', 'host_id']).doUpdateSet((e) => ({
          state: e.ref('excluded.state'),
          asked_at: e.ref('excluded.asked_at'),
          ended_at: e.ref('excluded.ended_at'),
          code: e.ref('excluded.code'),
          detail: e.ref('excluded.detail'),
        })),
      )
      .execute();
  }
}

/** The column `progress`; what is absent is undefined. */
const StoredProgress = Type.Object({
  state: Type.Enum(['planned', 'running', 'paused', 'halted', 'done', 'aborted']),
  stage: Type.Integer(),
  stageAt: Type.Number(),
  reason: Type.Optional(Type.String()),
  forgiven: Type.Integer(),
});

function fromProgress({ endedAt, ...progress }: RolloutProgress) {
  return { progress: JSON.stringify(progress), ended_at: endedAt ?? null };
}

function fromRow({ id, sequence, version, plan, createdBy, createdAt, progress }: RolloutRow): RolloutsTable {
  return { id, sequence, version, plan, created_by: createdBy, created_at: createdAt, ...fromProgress(progress) };
}

function toRow(row: Selectable<RolloutsTable>): RolloutRow {
  const { id, sequence, version, plan } = row;
  const stored = validate(StoredProgress, JSON.parse(row.progress), 'a rollout in the store', 'STORE_UNAVAILABLE');
  const progress = { ...stored, reason: stored.reason, endedAt: row.ended_at ?? undefined };
  return { id, sequence, version, plan, progress, createdBy: row.created_by, createdAt: row.created_at };
}

function fromHost(rolloutId: string, host: RolloutHost): Insertable<RolloutHostsTable> {
  return {
    rollout_id: rolloutId,
    host_id: host.hostId,
    place: host.place,
    stage: host.stage,
    state: host.state,
    asked_at: host.askedAt ?? null,
    ended_at: host.endedAt ?? null,
    code: host.code ?? null,
    detail: host.detail ?? null,
  };
}

function toHost(row: Selectable<RolloutHostsTable>): RolloutHost {
  return {
    hostId: row.host_id,
    place: row.place,
    stage: row.stage,
    state: row.state as RolloutHostState,
    askedAt: row.asked_at ?? undefined,
    endedAt: row.ended_at ?? undefined,
    code: row.code ?? undefined,
    detail: row.detail ?? undefined,
  };
}
