/** API tokens: made, checked at every request, rotated, revoked; and the first one, for the administrator. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BaseLogger } from 'pino';
import { formatToken, parseToken, type TokenParts } from '../../certs/enrollment-token.ts';
import { writeFileAtomic } from '../../shared/atomic-file.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { MAX_NAME_CHARS } from '../../shared/limits.ts';
import type { Role } from '../../shared/messages/kind.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { Tables } from '../store/all-tables.ts';
import type { ApiTokenRow } from '../store/api-tokens.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import { storeError } from '../store/store-errors.ts';
import { isRole, ROLES } from './roles.ts';
import { planRotation } from './rotation.ts';
import { type HostScope, resolveScope, type ScopeRequest } from './scope.ts';
import { fitsHash, type NewSecret, newSecret } from './secret.ts';

/** How exact the time of last use is. */
const LAST_USED_STEP_MS = 60_000;
/** Where the id of the token in the admin token file stands. */
const ADMIN_SETTING = 'access.admin-token';
const SYSTEM: Actor = { name: 'system' };

/** Whom an API token, an operator's certificate or a session stands for. */
export interface Principal {
  readonly tokenId: string;
  readonly name: string;
  readonly role: Role;
  /** Which hosts it may see; undefined: all. */
  readonly scope?: HostScope | undefined;
  /** ms since 1970; what the token holds open ends then. */
  readonly expiresAt: number | undefined;
}

/** A token as it is shown. Times are ms since 1970. */
export type ApiTokenView = Omit<ApiTokenRow, 'secretHash'>;

export interface ApiTokenRequest extends ScopeRequest {
  /** What people call it: 1 to 64 characters. */
  readonly name: string;
  readonly role: Role;
  /** ms since 1970; never, if absent. */
  readonly expiresAt?: number | undefined;
}

export interface CreatedApiToken extends ApiTokenView {
  /** Shown this once. */
  readonly token: string;
}

export interface RotatedApiToken extends CreatedApiToken {
  /** When the token that it replaces ends, ms since 1970. */
  readonly replacedEndsAt: number;
}

/** Is told of a token that ends: now, or at `endsAt`, ms since 1970. */
type EndListener = (tokenId: string, endsAt?: number) => void;

export interface ApiTokensDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error' | 'warn'>;
  /** The pin of the CA, by which clients know this server. Asked anew for each token: it may change. */
  readonly caFingerprint: string;
}

export class ApiTokens {
  readonly #deps: ApiTokensDeps;
  readonly #listeners = new Set<EndListener>();

  constructor(deps: ApiTokensDeps) {
    this.#deps = deps;
  }

  /** @throws FairleadError VALIDATION, HOST_NOT_FOUND for a scope with a host that is not there */
  async create(request: ApiTokenRequest, actor: Actor): Promise<CreatedApiToken> {
    this.#check(request);
    const made = newSecret();
    const view = await this.#deps.store.transaction(async (tables) => {
      const scope = await resolveScope(tables, request);
      return await this.#insert(tables, made, { ...request, scope }, actor);
    });
    return { ...view, token: this.#format(made) };
  }

  /**
   * Who the bearer of `token` is.
   * @param address where it is used from
   * @throws FairleadError UNAUTHORIZED, the same one whatever is wrong with the token
   */
  async authenticate(token: string, address?: string): Promise<Principal> {
    const parts = parse(token);
    const row = parts && (await this.#deps.store.apiTokens.find(parts.id));
    const now = this.#deps.clock.now();
    const fits = parts !== undefined && fitsHash(parts.secret, row?.secretHash);
    if (!fits || row === undefined || row.revokedAt !== undefined || isOver(row.expiresAt, now)) {
      throw new FairleadError('UNAUTHORIZED', 'the API token is unknown, expired or revoked');
    }
    await this.#noteUse(row, now, address);
    return { tokenId: row.id, name: row.name, role: row.role, scope: row.scope, expiresAt: row.expiresAt };
  }

  /** Newest first, revoked and expired ones included. */
  async list(page: PageRequest): Promise<Page<ApiTokenView>> {
    const { items, ...rest } = await this.#deps.store.apiTokens.list(page);
    return { items: items.map(toView), ...rest };
  }

  /**
   * Makes a token like this one, which ends after the overlap: same name, role and scope, and as long a life.
   * @throws FairleadError NOT_FOUND, CONFLICT if it has ended or was rotated before, VALIDATION
   */
  async rotate(id: string, overlapSeconds: number, actor: Actor): Promise<RotatedApiToken> {
    const made = newSecret();
    const { view, endsAt } = await this.#deps.store.transaction(async (tables) => {
      const old = await this.#find(tables, id);
      const { endsAt, expiresAt } = planRotation(old, overlapSeconds, this.#deps.clock.now());
      const view = await this.#insert(tables, made, { ...old, expiresAt }, actor);
      await tables.apiTokens.replace(id, made.id, endsAt);
      const admin = await tables.settings.get(ADMIN_SETTING);
      if (admin?.toString('utf8') === id) await tables.settings.set(ADMIN_SETTING, Buffer.from(made.id));
      await this.#record(tables, 'api-token.rotate', id, actor, { name: old.name, replacedBy: made.id, endsAt });
      return { view, endsAt };
    });
    this.#announce(id, endsAt);
    return { ...view, token: this.#format(made), replacedEndsAt: endsAt };
  }

  /** Revokes a token at once; one that is revoked already stays as it is. @throws FairleadError NOT_FOUND */
  async revoke(id: string, actor: Actor): Promise<void> {
    const revoked = await this.#deps.store.transaction(async (tables) => {
      return await this.#revoke(tables, await this.#find(tables, id), actor);
    });
    if (revoked) this.#announce(id);
  }

  /** Calls `listener` for each token that is revoked, or that is to end sooner than it was. @returns a function that stops it. */
  onRevoked(listener: EndListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The file that holds the administrator's token. */
  get adminTokenFile(): string {
    return join(this.#deps.store.dataDir, 'admin-token');
  }

  /** Makes the first admin token and its file, unless there was ever a token. @returns whether it did. */
  async ensureAdminToken(): Promise<boolean> {
    if (!(await this.#deps.store.apiTokens.isEmpty())) return false;
    await this.#makeAdminToken();
    return true;
  }

  /** For an administrator who has lost the file: makes a new token and file, and revokes the token that was there. */
  async resetAdminToken(): Promise<void> {
    for (const replaced of await this.#makeAdminToken()) this.#announce(replaced);
  }

  /** Puts the CA's present pin into the admin token's file, if the token of it is there: id and secret stay. */
  async repinAdminToken(): Promise<void> {
    const held = parse(await readFile(this.adminTokenFile, 'utf8').catch(() => ''));
    const row = held && (await this.#deps.store.apiTokens.find(held.id));
    if (held === undefined || held.pin === this.#deps.caFingerprint || !fitsHash(held.secret, row?.secretHash)) return;
    await this.#writeAdminToken(held);
  }

  /** @returns the ids of the tokens that were revoked for it. */
  async #makeAdminToken(): Promise<string[]> {
    const made = newSecret();
    // The file first: a crash in between leaves a file without a token, which the next start replaces.
    await this.#writeAdminToken(made);
    try {
      return await this.#deps.store.transaction(async (tables) => {
        const before = await tables.settings.get(ADMIN_SETTING);
        const revoked: string[] = [];
        let old = before && (await tables.apiTokens.find(before.toString('utf8')));
        // Those that it has taken the place of may still be in their overlap.
        for (; old !== undefined; old = await tables.apiTokens.predecessor(old.id)) {
          if (await this.#revoke(tables, old, SYSTEM)) revoked.push(old.id);
        }
        await this.#insert(tables, made, { name: 'admin', role: 'admin' }, SYSTEM);
        await tables.settings.set(ADMIN_SETTING, Buffer.from(made.id));
        return revoked;
      });
    } catch (error) {
      await rm(this.adminTokenFile, { force: true });
      throw error;
    }
  }

  async #writeAdminToken(made: Pick<NewSecret, 'id' | 'secret'>): Promise<void> {
    try {
      await writeFileAtomic(this.adminTokenFile, `${this.#format(made)}\n`, 0o600);
    } catch (error) {
      throw storeError(error, this.#deps.store.dataDir);
    }
  }

  #check({ name, role, expiresAt }: ApiTokenRequest): void {
    if (name.trim() === '' || name.length > MAX_NAME_CHARS || /\p{Cc}/u.test(name)) {
      throw new FairleadError('VALIDATION', `name is not valid: it has 1 to ${MAX_NAME_CHARS} printable characters`);
    }
    if (!isRole(role)) throw new FairleadError('VALIDATION', `role is not valid: it is one of ${ROLES.join(', ')}`);
    if (expiresAt !== undefined && !(Number.isSafeInteger(expiresAt) && expiresAt > this.#deps.clock.now())) {
      throw new FairleadError('VALIDATION', 'expiresAt is not valid: it must lie in the future');
    }
  }

  /** @throws FairleadError NOT_FOUND */
  async #find(tables: Tables, id: string): Promise<ApiTokenRow> {
    const row = await tables.apiTokens.find(id);
    if (row === undefined) throw new FairleadError('NOT_FOUND', `there is no API token ${JSON.stringify(id)}`);
    return row;
  }

  async #insert(
    tables: Tables,
    made: NewSecret,
    { name, role, scope, expiresAt }: Pick<ApiTokenRow, 'name' | 'role'> & Partial<ApiTokenRow>,
    actor: Actor,
  ): Promise<ApiTokenView> {
    const row = {
      id: made.id,
      name,
      secretHash: made.hash,
      role,
      scope,
      createdBy: actor.name,
      createdAt: this.#deps.clock.now(),
      expiresAt,
    };
    await tables.apiTokens.insert(row);
    await this.#record(tables, 'api-token.create', made.id, actor, { name, role, scope, expiresAt });
    const unused = { lastUsedAt: undefined, lastUsedAddress: undefined, revokedAt: undefined, replacedBy: undefined };
    return toView({ ...row, ...unused });
  }

  /** @returns whether it was not revoked before. */
  async #revoke(tables: Tables, row: ApiTokenRow, actor: Actor): Promise<boolean> {
    const revoked = await tables.apiTokens.revoke(row.id, this.#deps.clock.now());
    if (revoked) await this.#record(tables, 'api-token.revoke', row.id, actor, { name: row.name, role: row.role });
    return revoked;
  }

  async #record(tables: Tables, action: string, target: string, actor: Actor, detail: object): Promise<void> {
    const entry = { actor: actor.name, address: actor.address, action, target, result: 'ok' as const };
    await this.#deps.audit.record({ ...entry, detail: { ...detail } }, tables);
  }

  /** Reading goes on when the store cannot be written, so a time of use that is not saved is no reason to refuse. */
  async #noteUse(row: ApiTokenRow, now: number, address: string | undefined): Promise<void> {
    if (row.lastUsedAt !== undefined && now - row.lastUsedAt < LAST_USED_STEP_MS) return;
    try {
      await this.#deps.store.apiTokens.markUsed(row.id, now, address, now - LAST_USED_STEP_MS);
    } catch (error) {
      this.#deps.log.warn({ err: error, tokenId: row.id }, 'the time of use of an API token was not saved');
    }
  }

  #announce(tokenId: string, endsAt?: number): void {
    for (const listener of this.#listeners) {
      try {
        listener(tokenId, endsAt);
      } catch (error) {
        this.#deps.log.error({ err: error, tokenId }, 'a listener failed for a revoked API token');
      }
    }
  }

  #format({ id, secret }: Pick<NewSecret, 'id' | 'secret'>): string {
    return formatToken('fla1', { pin: this.#deps.caFingerprint, id, secret });
  }
}

/** What does not have the form of a token is simply not one: the caller is told the same as of any wrong token. */
function parse(token: string): TokenParts | undefined {
  try {
    return parseToken('fla1', token);
  } catch (error) {
    if (isFairleadError(error, 'TOKEN_INVALID')) return undefined;
    throw error;
  }
}

function isOver(expiresAt: number | undefined, now: number): boolean {
  return expiresAt !== undefined && expiresAt <= now;
}

function toView({ secretHash: _, ...view }: ApiTokenRow): ApiTokenView {
  return view;
}
