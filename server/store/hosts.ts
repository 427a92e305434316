/** Table `hosts`: every host that was ever enrolled and not removed. */
import { CompiledQuery, type Selectable } from 'kysely';
import { FairleadError } from '../../shared/errors.ts';
import { checkHostName, hostNameKey, isHostId, numberedName } from './host-names.ts';
import { type HostScope, inScope } from './host-scope.ts';
import { putTags } from './host-tags.ts';
import { placeholders } from './many-rows.ts';
import { type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import { revokedHost } from './revocations.ts';
import type { HostsTable } from './schema.ts';
import { type Db, type Note, readStrings } from './tables.ts';

/** Which protocol a host's agent speaks. */
export type HostKind = 'native' | 'hawser-edge' | 'hawser-standard';

/** A host as it is stored. Times are ms since 1970. */
export interface HostRow {
  readonly id: string;
  readonly name: string;
  readonly kind: HostKind;
  readonly os: string;
  readonly arch: string;
  readonly hostname: string;
  readonly agentVersion: string;
  readonly tags: string[];
  readonly createdAt: number;
  readonly lastSeenAt: number | undefined;
  readonly revokedAt: number | undefined;
  readonly revokeReason: string | undefined;
  readonly quarantinedAt: number | undefined;
  readonly quarantineReason: string | undefined;
}

/** A sign of life, and what the host says of itself. */
export interface SeenHost extends HostFacts {
  readonly id: string;
  /** ms since 1970. */
  readonly at: number;
}

const MARK_SEEN = `update hosts set last_seen_at = seen.column2, os = seen.column3, arch = seen.column4,
  hostname = seen.column5, agent_version = seen.column6 from`;

export interface NewHost
  extends Omit<HostRow, 'kind' | 'lastSeenAt' | 'revokedAt' | 'revokeReason' | 'quarantinedAt' | 'quarantineReason'> {
  /** `native` unless given. */
  readonly kind?: HostKind;
}

/** What a host says of itself when it connects. */
export interface HostFacts {
  readonly os: string;
  readonly arch: string;
  readonly hostname: string;
  readonly agentVersion: string;
}

export interface Hosts {
  /** @throws FairleadError CONFLICT if the name is taken, VALIDATION if it is none. */
  insert(host: NewHost): Promise<HostRow>;
  /** By id, or by name in any case. */
  find(ref: string): Promise<HostRow | undefined>;
  /** By id or name. @throws FairleadError HOST_NOT_FOUND */
  get(ref: string): Promise<HostRow>;
  /** In the order of their names; those in `scope` only, if there is one. */
  list(page: PageRequest, scope?: HostScope): Promise<Page<HostRow>>;
  /** The names of those among `ids` that are there, by id. */
  names(ids: readonly string[]): Promise<Map<string, string>>;
  count(): Promise<number>;
  /** `base` if it is free, else the first of `base-2`, `base-3` and so on that is. */
  freeName(base: string): Promise<string>;
  /** @throws FairleadError HOST_NOT_FOUND, CONFLICT if the name is taken, VALIDATION if it is none. */
  update(id: string, change: { name?: string; tags?: readonly string[] }): Promise<HostRow>;
  /** Notes, in one statement, when hosts were seen and what they say of themselves: a few dozen at most, each once. */
  markSeen(seen: readonly SeenHost[]): Promise<void>;
  /** Marks the host as revoked, once. Its certificates are another table's. */
  markRevoked(id: string, at: number, reason: string): Promise<HostRow>;
  /** The same for many, in one statement. */
  markAllRevoked(ids: readonly string[], at: number, reason: string): Promise<void>;
  /** Sets or, with `undefined`, lifts the host's quarantine. @returns whether that changed anything */
  setQuarantine(id: string, quarantine: { at: number; reason: string } | undefined): Promise<boolean>;
  /** Another agent serves the host from now on. @returns whether it was of another kind before */
  setKind(id: string, kind: HostKind): Promise<boolean>;
  /** @returns whether there was such a host. */
  delete(id: string): Promise<boolean>;
}

/** Names are looked up so many at a time: a statement takes only so many values. */
const NAMES_PER_QUERY = 500;

/** What is answered of a host that is not there, or not for whoever asks. */
export function hostNotFound(ref: string): FairleadError {
  return new FairleadError('HOST_NOT_FOUND', `there is no host ${JSON.stringify(ref)}`);
}

export function hostsTable(db: Db, note: Note): Hosts {
  const find = async (ref: string): Promise<HostRow | undefined> => {
    const query = db.selectFrom('hosts').selectAll();
    const row = await (isHostId(ref)
      ? query.where('id', '=', ref.toLowerCase())
      : query.where('name_key', '=', hostNameKey(ref))
    ).executeTakeFirst();
    return row && toHost(row);
  };

  const get = async (ref: string): Promise<HostRow> => {
    const host = await find(ref);
    if (host === undefined) throw hostNotFound(ref);
    return host;
  };

  return {
    find,
    get,

    async insert(host) {
      await requireFree(db, host.name);
      await db.insertInto('hosts').values(fromNewHost(host)).execute();
      await putTags(db, host.id, host.tags);
      return await get(host.id);
    },

    list: (page, scope) => list(db, page, scope),
    names: (ids) => namesOf(db, [...new Set(ids)]),

    async count() {
      const row = await db
        .selectFrom('hosts')
        .select((e) => e.fn.countAll<number>().as('n'))
        .executeTakeFirstOrThrow();
      return Number(row.n);
    },

    freeName: (base) => freeName(db, base),

    async update(id, { name, tags }) {
      if (name !== undefined) await requireFree(db, name, id);
      const set: Partial<HostsTable> = {};
      if (name !== undefined) Object.assign(set, { name, name_key: hostNameKey(name) });
      if (tags !== undefined) set.tags = JSON.stringify(tags);
      if (Object.keys(set).length > 0) await db.updateTable('hosts').set(set).where('id', '=', id).execute();
      const host = await get(id);
      if (tags !== undefined) await putTags(db, host.id, tags);
      return host;
    },

    markSeen: (seen) => markSeen(db, seen),

    async markRevoked(id, at, reason) {
      await markRevoked(db, note, [id], at, reason);
      return await get(id);
    },

    markAllRevoked: (ids, at, reason) => markRevoked(db, note, ids, at, reason),
    setQuarantine: (id, quarantine) => setQuarantine(db, id, quarantine),
    setKind: (id, kind) => setKind(db, id, kind),

    async delete(id) {
      await putTags(db, id, []);
      const { numDeletedRows } = await db.deleteFrom('hosts').where('id', '=', id).executeTakeFirst();
      return numDeletedRows > 0n;
    },
  };
}

/** @param except the id of the host that asks for the name, which may keep its own. */
async function requireFree(db: Db, name: string, except = ''): Promise<void> {
  checkHostName(name);
  const owner = await db
    .selectFrom('hosts')
    .select('id')
    .where('name_key', '=', hostNameKey(name))
    .where('id', '!=', except)
    .executeTakeFirst();
  if (owner !== undefined) throw new FairleadError('CONFLICT', `the host name ${name} is taken`);
}

async function list(db: Db, page: PageRequest, scope: HostScope | undefined): Promise<Page<HostRow>> {
  const limit = pageLimit(page);
  const start = pageStart(page, 'string');
  let query = db
    .selectFrom('hosts')
    .selectAll()
    .orderBy('name_key')
    .limit(limit + 1);
  if (start !== undefined) query = query.where('name_key', '>', start[0]);
  if (scope !== undefined) query = query.where((e) => inScope(e.ref('hosts.id'), scope));
  return toPage(await query.execute(), limit, (row) => [row.name_key, row.id], toHost);
}

async function markSeen(db: Db, seen: Parameters<Hosts['markSeen']>[0]): Promise<void> {
  if (seen.length === 0) return;
  const values = seen.flatMap(({ id, at, os, arch, hostname, agentVersion }) => {
    return [id, at, os, arch, hostname, agentVersion];
  });
  const sql = `${MARK_SEEN} (values ${placeholders(seen.length, 6)}) as seen where hosts.id = seen.column1`;
  await db.executeQuery(CompiledQuery.raw(sql, values));
}

async function freeName(db: Db, base: string): Promise<string> {
  // The part that all numbered forms share. An underscore in it finds too much, which the set below sorts out.
  const stem = hostNameKey(base.slice(0, 48));
  const rows = await db
    .selectFrom('hosts')
    .select('name_key')
    .where((e) => e(e.ref('name_key'), 'like', e.val(`${stem}%`)))
    .execute();
  const taken = new Set(rows.map((row) => row.name_key));
  let n = 1;
  while (taken.has(hostNameKey(numberedName(base, n)))) n++;
  return numberedName(base, n);
}

async function namesOf(db: Db, ids: readonly string[]): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  for (let i = 0; i < ids.length; i += NAMES_PER_QUERY) {
    const some = ids.slice(i, i + NAMES_PER_QUERY);
    const rows = await db.selectFrom('hosts').select(['id', 'name']).where('id', 'in', some).execute();
    for (const { id, name } of rows) names.set(id, name);
  }
  return names;
}

async function markRevoked(db: Db, note: Note, ids: readonly string[], at: number, reason: string): Promise<void> {
  await db
    .updateTable('hosts')
    .set({ revoked_at: at, revoke_reason: reason })
    .where('id', 'in', ids)
    .where('revoked_at', 'is', null)
    .execute();
  await note(...ids.map((id) => revokedHost(id, at, reason)));
}

async function setKind(db: Db, id: string, kind: HostKind): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('hosts')
    .set({ kind })
    .where('id', '=', id)
    .where('kind', '!=', kind)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

async function setQuarantine(db: Db, ...[id, quarantine]: Parameters<Hosts['setQuarantine']>): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('hosts')
    .set({ quarantined_at: quarantine?.at ?? null, quarantine_reason: quarantine?.reason ?? null })
    .where('id', '=', id)
    .where('quarantined_at', quarantine === undefined ? 'is not' : 'is', null)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

function fromNewHost(host: NewHost): HostsTable {
  return {
    id: host.id,
    name: host.name,
    name_key: hostNameKey(host.name),
    kind: host.kind ?? 'native',
    os: host.os,
    arch: host.arch,
    hostname: host.hostname,
    agent_version: host.agentVersion,
    tags: JSON.stringify(host.tags),
    created_at: host.createdAt,
    last_seen_at: null,
    revoked_at: null,
    revoke_reason: null,
    quarantined_at: null,
    quarantine_reason: null,
  };
}

function toHost(row: Selectable<HostsTable>): HostRow {
  return {
    id: row.id,
    name: row.name,
    kind: row.kind === 'hawser-edge' || row.kind === 'hawser-standard' ? row.kind : 'native',
    os: row.os,
    arch: row.arch,
    hostname: row.hostname,
    agentVersion: row.agent_version,
    tags: readStrings(row.tags),
    createdAt: row.created_at,
    lastSeenAt: row.last_seen_at ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
    revokeReason: row.revoke_reason ?? undefined,
    quarantinedAt: row.quarantined_at ?? undefined,
    quarantineReason: row.quarantine_reason ?? undefined,
  };
}
