/** Users who log in by password: made, listed and removed by administrators. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { Tables } from '../store/all-tables.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import type { UserRow } from '../store/users.ts';
import { checkGrant, EVERYWHERE, type Grant } from './grants.ts';
import type { PasswordHasher } from './password-hash.ts';
import { checkPassword } from './password-rules.ts';
import { type HostScope, resolveScope, type ScopeRequest } from './scope.ts';

const ID_BYTES = 10;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@+-]*$/;

/** A user as shown. Times are ms since 1970. */
export type UserView = Omit<UserRow, 'passwordHash'>;

export interface UserRequest extends Grant, ScopeRequest {
  readonly password: string;
}

export interface UsersDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly hasher: PasswordHasher;
  /** Ends what a user has open. */
  readonly endSessions: (userId: string) => void;
}

export class Users {
  readonly #deps: UsersDeps;

  constructor(deps: UsersDeps) {
    this.#deps = deps;
  }

  /** @throws FairleadError VALIDATION, HOST_NOT_FOUND, CONFLICT if the name is taken, OVERLOADED */
  async create({ name, role, password, hosts, tags }: UserRequest, actor: Actor): Promise<UserView> {
    const { clock, hasher, store } = this.#deps;
    checkGrant({ name, role });
    if (!NAME.test(name)) {
      throw new FairleadError('VALIDATION', 'name is not valid: it has letters, digits and . _ @ + - only');
    }
    checkPassword(password, name);
    const passwordHash = await hasher.hash(password);
    return await store.transaction(async (tables) => {
      if ((await tables.users.findByName(name)) !== undefined) {
        throw new FairleadError('CONFLICT', `there is a user ${name} already`);
      }
      const scope = (await resolveScope(tables, { hosts, tags })) ?? EVERYWHERE;
      const id = randomBytes(ID_BYTES).toString('hex');
      const row = { name, role, ...scope, id, passwordHash, createdBy: actor.name, createdAt: clock.now() };
      await tables.users.insert(row);
      await this.#record(tables, 'user.create', name, actor, { role, ...limits(scope) });
      return toView({ ...row, passwordChangedAt: row.createdAt, lastLoginAt: undefined });
    });
  }

  /** By name. */
  async list(page: PageRequest): Promise<Page<UserView>> {
    const { items, ...rest } = await this.#deps.store.users.list(page);
    return { items: items.map(toView), ...rest };
  }

  /** Sets a password and ends the sessions that were opened with another. @throws FairleadError NOT_FOUND, VALIDATION, OVERLOADED */
  async setPassword(name: string, password: string, actor: Actor): Promise<void> {
    const { clock, hasher, store, endSessions } = this.#deps;
    const { name: userName } = await find(store, name);
    checkPassword(password, userName);
    const passwordHash = await hasher.hash(password);
    const id = await store.transaction(async (tables) => {
      const user = await find(tables, name);
      await tables.users.setPassword(user.id, passwordHash, clock.now());
      await this.#record(tables, 'user.password', user.name, actor, {});
      return user.id;
    });
    endSessions(id);
  }

  /** Removes a user and ends its sessions. @throws FairleadError NOT_FOUND */
  async remove(name: string, actor: Actor): Promise<void> {
    const id = await this.#deps.store.transaction(async (tables) => {
      const user = await find(tables, name);
      await tables.users.remove(user.id, this.#deps.clock.now());
      await this.#record(tables, 'user.remove', user.name, actor, { role: user.role });
      return user.id;
    });
    this.#deps.endSessions(id);
  }

  async #record(tables: Tables, action: string, target: string, actor: Actor, detail: object): Promise<void> {
    const entry = { actor: actor.name, address: actor.address, action, target, result: 'ok' as const };
    await this.#deps.audit.record({ ...entry, detail: { ...detail } }, tables);
  }
}

async function find(tables: Pick<Tables, 'users'>, name: string): Promise<UserRow> {
  const user = await tables.users.findByName(name);
  if (user === undefined) throw new FairleadError('NOT_FOUND', `there is no user ${JSON.stringify(name)}`);
  return user;
}

function limits({ hosts, tags }: HostScope): object {
  return { ...(hosts.length > 0 ? { hosts } : {}), ...(tags.length > 0 ? { tags } : {}) };
}

function toView({ passwordHash: _, ...view }: UserRow): UserView {
  return view;
}
