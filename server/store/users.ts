/** Table `users`: people who log in by password; of the passwords only slow hashes. */
import type { Selectable } from 'kysely';
import type { Role } from '../../shared/messages/kind.ts';
import { type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import { removedUser } from './revocations.ts';
import type { UsersTable } from './schema.ts';
import { type Db, type Note, readStrings } from './tables.ts';

/** A user as stored. Times are ms since 1970. */
export interface UserRow {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly passwordHash: string;
  readonly hosts: readonly string[];
  readonly tags: readonly string[];
  readonly createdBy: string;
  readonly createdAt: number;
  readonly passwordChangedAt: number;
  readonly lastLoginAt: number | undefined;
}

export type NewUser = Omit<UserRow, 'passwordChangedAt' | 'lastLoginAt'>;

export interface UserRows {
  insert(user: NewUser): Promise<void>;
  /** The user of that name, in whatever case. */
  findByName(name: string): Promise<UserRow | undefined>;
  /** By name. */
  list(page: PageRequest): Promise<Page<UserRow>>;
  isEmpty(): Promise<boolean>;
  setPassword(id: string, passwordHash: string, at: number): Promise<void>;
  markLogin(id: string, at: number): Promise<void>;
  /** @returns whether there was such a user. */
  remove(id: string, at: number): Promise<boolean>;
}

export function usersTable(db: Db, note: Note): UserRows {
  return {
    async insert(user) {
      await db.insertInto('users').values(fromNewUser(user)).execute();
    },

    async findByName(name) {
      const row = await db
        .selectFrom('users')
        .selectAll()
        .where('name_key', '=', name.toLowerCase())
        .executeTakeFirst();
      return row && toUser(row);
    },

    async list(page) {
      const limit = pageLimit(page);
      const start = pageStart(page, 'string');
      let query = db.selectFrom('users').selectAll();
      if (start !== undefined) query = query.where('name_key', '>', start[0]);
      const rows = await query
        .orderBy('name_key', 'asc')
        .limit(limit + 1)
        .execute();
      return toPage(rows, limit, (row) => [row.name_key, row.id], toUser);
    },

    async isEmpty() {
      return (await db.selectFrom('users').select('id').limit(1).executeTakeFirst()) === undefined;
    },

    async setPassword(id, passwordHash, at) {
      await db
        .updateTable('users')
        .set({ password_hash: passwordHash, password_changed_at: at })
        .where('id', '=', id)
        .execute();
    },

    async markLogin(id, at) {
      await db.updateTable('users').set({ last_login_at: at }).where('id', '=', id).execute();
    },

    async remove(id, at) {
      const { numDeletedRows } = await db.deleteFrom('users').where('id', '=', id).executeTakeFirst();
      if (numDeletedRows > 0n) await note(removedUser(id, at));
      return numDeletedRows > 0n;
    },
  };
}

function fromNewUser(user: NewUser): UsersTable {
  return {
    id: user.id,
    name: user.name,
    name_key: user.name.toLowerCase(),
    role: user.role,
    password_hash: user.passwordHash,
    hosts: JSON.stringify(user.hosts),
    tags: JSON.stringify(user.tags),
    created_by: user.createdBy,
    created_at: user.createdAt,
    password_changed_at: user.createdAt,
    last_login_at: null,
  };
}

function toUser(row: Selectable<UsersTable>): UserRow {
  return {
    id: row.id,
    name: row.name,
    role: row.role as Role,
    passwordHash: row.password_hash,
    hosts: readStrings(row.hosts),
    tags: readStrings(row.tags),
    createdBy: row.created_by,
    createdAt: row.created_at,
    passwordChangedAt: row.password_changed_at,
    lastLoginAt: row.last_login_at ?? undefined,
  };
}
