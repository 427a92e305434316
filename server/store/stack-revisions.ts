/** Table `stack_revisions`: what was deployed as a stack on a host, when, by whom, and how it ended. */
import type { Selectable } from 'kysely';
import { type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import type { StackRevisionsTable } from './schema.ts';
import { type Db, readStrings } from './tables.ts';

/**
 * deploying: its work goes on. deployed: it is what the stack was made to be. failed: the host has said that it is not,
 * or not wholly. interrupted: the host was lost before it said how it ended.
 */
export type RevisionState = 'deploying' | 'deployed' | 'failed' | 'interrupted';
/** migrate: it was deployed on another host, as the revision `source` there. */
export type RevisionAction = 'deploy' | 'redeploy' | 'rollback' | 'migrate';

/** Which stack: its name on a host. */
export interface StackKey {
  readonly hostId: string;
  readonly stack: string;
}

/** A revision without what it is made of. Times are ms since 1970. */
export interface RevisionRow extends StackKey {
  /** Counts from 1 up in each stack. */
  readonly number: number;
  /** By which the host knows the deployment. */
  readonly id: string;
  readonly action: RevisionAction;
  /** The revision that it repeats; for one that was migrated, that of the host it came from. */
  readonly source: number | undefined;
  readonly envNames: readonly string[];
  /** Bytes of the file and of the sealed environment. */
  readonly size: number;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly state: RevisionState;
  readonly finishedAt: number | undefined;
  readonly code: string | undefined;
  readonly detail: string | undefined;
}

/** What a revision is made of. */
export interface RevisionContent {
  readonly compose: string;
  /** Sealed; undefined: it has no variables. */
  readonly env: string | undefined;
}

export type NewRevision = Omit<RevisionRow, 'number' | 'state' | 'finishedAt' | 'code' | 'detail'> & RevisionContent;

export interface RevisionEnd {
  readonly state: RevisionState;
  readonly at: number;
  readonly code?: string | undefined;
  readonly detail?: string | undefined;
}

export interface StackRevisions {
  /** @returns the number that it got. To be called in a transaction. */
  insert(revision: NewRevision): Promise<number>;
  find(key: StackKey, number: number): Promise<(RevisionRow & RevisionContent) | undefined>;
  /** The newest one in any of `states`. */
  newest(key: StackKey, states: readonly RevisionState[]): Promise<RevisionRow | undefined>;
  /** Newest first. */
  list(key: StackKey, page: PageRequest): Promise<Page<RevisionRow>>;
  /** All of a stack, newest first. */
  all(key: StackKey): Promise<RevisionRow[]>;
  /** The newest revision, and the newest deployed one, of each stack of a host, by name. */
  latest(hostId: string): Promise<RevisionRow[]>;
  /** How many stacks of a host have revisions. */
  countStacks(hostId: string): Promise<number>;
  finish(id: string, end: RevisionEnd): Promise<void>;
  /** What was going on when a server was killed is in the state that nobody knows of. @returns how many they were */
  interruptAll(at: number): Promise<number>;
  delete(key: StackKey, numbers: readonly number[]): Promise<void>;
  deleteStack(key: StackKey): Promise<void>;
}

const COLUMNS = [
  'host_id',
  'stack',
  'number',
  'id',
  'action',
  'source',
  'env_names',
  'size',
  'created_by',
  'created_at',
  'state',
  'finished_at',
  'code',
  'detail',
] as const;

export function stackRevisionsTable(db: Db): StackRevisions {
  const of = ({ hostId, stack }: StackKey) =>
    db.selectFrom('stack_revisions').select(COLUMNS).where('host_id', '=', hostId).where('stack', '=', stack);

  return {
    async insert(revision) {
      const { hostId, stack } = revision;
      const last = await of({ hostId, stack }).orderBy('number', 'desc').limit(1).executeTakeFirst();
      const number = (last?.number ?? 0) + 1;
      await db
        .insertInto('stack_revisions')
        .values({ ...fromNewRevision(revision), number })
        .execute();
      return number;
    },

    async find(key, number) {
      const row = await of(key).select(['compose', 'env']).where('number', '=', number).executeTakeFirst();
      return row && { ...toRevision(row), compose: row.compose, env: row.env ?? undefined };
    },

    async newest(key, states) {
      const row = await of(key).where('state', 'in', states).orderBy('number', 'desc').limit(1).executeTakeFirst();
      return row && toRevision(row);
    },

    async list(key, page) {
      const limit = pageLimit(page);
      const start = pageStart(page, 'number');
      let query = of(key);
      if (start !== undefined) query = query.where('number', '<', start[0]);
      const rows = await query
        .orderBy('number', 'desc')
        .limit(limit + 1)
        .execute();
      return toPage(rows, limit, (row) => [row.number, row.id], toRevision);
    },

    async all(key) {
      const rows = await of(key).orderBy('number', 'desc').execute();
      return rows.map(toRevision);
    },

    async latest(hostId) {
      return await latestOf(db, hostId);
    },

    async countStacks(hostId) {
      const row = await db
        .selectFrom('stack_revisions')
        .select((e) => e.fn.count<number>('stack').distinct().as('count'))
        .where('host_id', '=', hostId)
        .executeTakeFirst();
      return Number(row?.count ?? 0);
    },

    async finish(id, { state, at, code, detail }) {
      await db
        .updateTable('stack_revisions')
        .set({ state, finished_at: at, code: code ?? null, detail: detail ?? null })
        .where('id', '=', id)
        .execute();
    },

    async interruptAll(at) {
      const { numUpdatedRows } = await db
        .updateTable('stack_revisions')
        .set({ state: 'interrupted', finished_at: at })
        .where('state', '=', 'deploying')
        .executeTakeFirst();
      return Number(numUpdatedRows);
    },

    async delete({ hostId, stack }, numbers) {
      if (numbers.length === 0) return;
      await db
        .deleteFrom('stack_revisions')
        .where('host_id', '=', hostId)
        .where('stack', '=', stack)
        .where('number', 'in', numbers)
        .execute();
    },

    async deleteStack({ hostId, stack }) {
      await db.deleteFrom('stack_revisions').where('host_id', '=', hostId).where('stack', '=', stack).execute();
    },
  };
}

async function latestOf(db: Db, hostId: string): Promise<RevisionRow[]> {
  const newest = (states: readonly RevisionState[] | undefined) => {
    const query = db
      .selectFrom('stack_revisions')
      .select(['stack', (e) => e.fn.max('number').as('newest')])
      .where('host_id', '=', hostId)
      .groupBy('stack');
    return (states === undefined ? query : query.where('state', 'in', states)).as('last');
  };
  const read = async (states?: readonly RevisionState[]) => {
    const rows = await db
      .selectFrom('stack_revisions')
      .innerJoin(newest(states), (join) =>
        join
          .onRef('last.stack', '=', 'stack_revisions.stack')
          .onRef('last.newest', '=', 'stack_revisions.number')
          .on('stack_revisions.host_id', '=', hostId),
      )
      .select(COLUMNS.map((column) => `stack_revisions.${column}` as const))
      .execute();
    return rows.map(toRevision);
  };
  const found = [...(await read()), ...(await read(['deployed']))];
  return [...new Map(found.map((row) => [row.id, row])).values()];
}

function fromNewRevision(revision: NewRevision): Omit<StackRevisionsTable, 'number'> {
  return {
    host_id: revision.hostId,
    stack: revision.stack,
    id: revision.id,
    action: revision.action,
    source: revision.source ?? null,
    compose: revision.compose,
    env: revision.env ?? null,
    env_names: JSON.stringify(revision.envNames),
    size: revision.size,
    created_by: revision.createdBy,
    created_at: revision.createdAt,
    state: 'deploying',
    finished_at: null,
    code: null,
    detail: null,
  };
}

function toRevision(row: Pick<Selectable<StackRevisionsTable>, (typeof COLUMNS)[number]>): RevisionRow {
  return {
    hostId: row.host_id,
    stack: row.stack,
    number: row.number,
    id: row.id,
    action: row.action as RevisionAction,
    source: row.source ?? undefined,
    envNames: readStrings(row.env_names),
    size: row.size,
    createdBy: row.created_by,
    createdAt: row.created_at,
    state: row.state as RevisionState,
    finishedAt: row.finished_at ?? undefined,
    code: row.code ?? undefined,
    detail: row.detail ?? undefined,
  };
}
