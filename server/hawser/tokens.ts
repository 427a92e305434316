/** Hawser's tokens: made, shown once, rotated, revoked; what is told of one that ends. */
import { randomBytes } from 'node:crypto';
import type { BaseLogger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_NAME_CHARS } from '../../shared/limits.ts';
import type { PasswordHasher } from '../access/password-hash.ts';
import { planRotation } from '../access/rotation.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { Tables } from '../store/all-tables.ts';
import type { HawserTokenRow } from '../store/hawser-tokens.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';

/** As Hawser's own server makes them: 43 characters of base64url. */
const SECRET_BYTES = 32;
const ID_BYTES = 10;
/** What a token is found by, since its salted hash cannot be. */
export const PREFIX_CHARS = 8;

/** A token as it is shown. Times are ms since 1970. */
export interface HawserTokenView extends Omit<HawserTokenRow, 'tokenHash'> {
  /** Undefined until it has made its host, and of one that was removed. */
  readonly hostName: string | undefined;
}

export interface HawserTokenRequest {
  /** What people call it: 1 to 64 characters. */
  readonly name: string;
  /** The host whose agents show it, by id or name; absent: it makes one of its own name when it is first shown. */
  readonly host?: string | undefined;
  /** ms since 1970; never, if absent. */
  readonly expiresAt?: number | undefined;
}

export interface CreatedHawserToken extends HawserTokenView {
  /** Shown this once. */
  readonly token: string;
}

export interface RotatedHawserToken extends CreatedHawserToken {
  /** When the token that it replaces ends, ms since 1970. */
  readonly replacedEndsAt: number;
}

/** Is told of a token that ends: now, or at `endsAt`, ms since 1970. */
type EndListener = (tokenId: string, endsAt?: number) => void;

export interface HawserTokensDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error'>;
  readonly hasher: PasswordHasher;
}

interface NewToken {
  readonly id: string;
  readonly token: string;
  readonly tokenHash: string;
}

export class HawserTokens {
  readonly #deps: HawserTokensDeps;
  readonly #listeners = new Set<EndListener>();

  constructor(deps: HawserTokensDeps) {
    this.#deps = deps;
  }

  /** @throws FairleadError VALIDATION, HOST_NOT_FOUND, CONFLICT for a host that is none of Hawser's, OVERLOADED */
  async create(request: HawserTokenRequest, actor: Actor): Promise<CreatedHawserToken> {
    this.#check(request);
    const { store } = this.#deps;
    if (request.host !== undefined) await hawserHost(store, request.host);
    const made = await this.#make();
    return await store.transaction(async (tables) => {
      const hostId = request.host === undefined ? undefined : (await hawserHost(tables, request.host)).id;
      return await this.#insert(tables, made, { ...request, hostId }, actor);
    });
  }

  /** Newest first, revoked and expired ones included. */
  async list(page: PageRequest): Promise<Page<HawserTokenView>> {
    const { store } = this.#deps;
    const { items, ...rest } = await store.hawserTokens.list(page);
    const names = await store.hosts.names(items.flatMap(({ hostId }) => hostId ?? []));
    return { items: items.map((row) => toView(row, names)), ...rest };
  }

  /**
   * Makes a token like this one, which ends after the overlap: same name and host, and as long a life.
   * @throws FairleadError NOT_FOUND, CONFLICT if it has ended or was rotated before, VALIDATION, OVERLOADED
   */
  async rotate(id: string, overlapSeconds: number, actor: Actor): Promise<RotatedHawserToken> {
    const { store, clock } = this.#deps;
    planRotation(await find(store, id), overlapSeconds, clock.now());
    const made = await this.#make();
    const { view, endsAt } = await store.transaction(async (tables) => {
      const old = await find(tables, id);
      const { endsAt, expiresAt } = planRotation(old, overlapSeconds, clock.now());
      const view = await this.#insert(tables, made, { name: old.name, hostId: old.hostId, expiresAt }, actor);
      await tables.hawserTokens.replace(id, made.id, endsAt);
      await this.#record(tables, 'hawser-token.rotate', id, actor, { name: old.name, replacedBy: made.id, endsAt });
      return { view, endsAt };
    });
    this.announceEnd(id, endsAt);
    return { ...view, replacedEndsAt: endsAt };
  }

  /** Revokes a token and ends its session at once; one that is revoked stays as it is. @throws FairleadError NOT_FOUND */
  async revoke(id: string, actor: Actor): Promise<void> {
    const revoked = await this.#deps.store.transaction(async (tables) => {
      const { name, hostId } = await find(tables, id);
      if (!(await tables.hawserTokens.revoke(id, this.#deps.clock.now()))) return false;
      await this.#record(tables, 'hawser-token.revoke', id, actor, { name, hostId });
      return true;
    });
    if (revoked) this.announceEnd(id);
  }

  /** Calls `listener` for each token that is revoked, or that is to end sooner than it was. @returns a function that stops it. */
  onEnd(listener: EndListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Says that a token has ended, or will. */
  announceEnd(tokenId: string, endsAt?: number): void {
    for (const listener of this.#listeners) {
      try {
        listener(tokenId, endsAt);
      } catch (error) {
        this.#deps.log.error({ err: error, tokenId }, 'a listener failed for a revoked Hawser token');
      }
    }
  }

  #check({ name, expiresAt }: HawserTokenRequest): void {
    if (name.trim() === '' || name.length > MAX_NAME_CHARS || /\p{Cc}/u.test(name)) {
      throw new FairleadError('VALIDATION', `name is not valid: it has 1 to ${MAX_NAME_CHARS} printable characters`);
    }
    if (expiresAt !== undefined && !(Number.isSafeInteger(expiresAt) && expiresAt > this.#deps.clock.now())) {
      throw new FairleadError('VALIDATION', 'expiresAt is not valid: it must lie in the future');
    }
  }

  /** Outside of a transaction, since hashing takes its time. */
  async #make(): Promise<NewToken> {
    const token = randomBytes(SECRET_BYTES).toString('base64url');
    return { id: randomBytes(ID_BYTES).toString('hex'), token, tokenHash: await this.#deps.hasher.hash(token) };
  }

  async #insert(
    tables: Tables,
    { id, token, tokenHash }: NewToken,
    { name, hostId, expiresAt }: Pick<HawserTokenRow, 'name' | 'hostId'> & { expiresAt?: number | undefined },
    actor: Actor,
  ): Promise<CreatedHawserToken> {
    const row = {
      ...{ id, name, tokenHash, hostId, expiresAt },
      prefix: token.slice(0, PREFIX_CHARS),
      createdBy: actor.name,
      createdAt: this.#deps.clock.now(),
    };
    await tables.hawserTokens.insert(row);
    await this.#record(tables, 'hawser-token.create', id, actor, { name, hostId, expiresAt });
    const names = await tables.hosts.names(hostId === undefined ? [] : [hostId]);
    const unused = { lastUsedAt: undefined, lastUsedAddress: undefined, revokedAt: undefined, replacedBy: undefined };
    return { ...toView({ ...row, ...unused }, names), token };
  }

  async #record(tables: Tables, action: string, target: string, actor: Actor, detail: object): Promise<void> {
    const entry = { actor: actor.name, address: actor.address, action, target, result: 'ok' as const };
    await this.#deps.audit.record({ ...entry, detail: { ...detail } }, tables);
  }
}

/** @throws FairleadError NOT_FOUND */
async function find(tables: Pick<Tables, 'hawserTokens'>, id: string): Promise<HawserTokenRow> {
  const row = await tables.hawserTokens.find(id);
  if (row === undefined) throw new FairleadError('NOT_FOUND', `there is no Hawser token ${JSON.stringify(id)}`);
  return row;
}

/** @throws FairleadError HOST_NOT_FOUND, CONFLICT */
async function hawserHost(tables: Pick<Tables, 'hosts'>, ref: string) {
  const host = await tables.hosts.get(ref);
  if (host.kind !== 'hawser-edge') {
    throw new FairleadError(
      'CONFLICT',
      `the host ${host.name} is none whose agent of Hawser connects by itself: a token is for those`,
    );
  }
  if (host.revokedAt !== undefined) {
    throw new FairleadError('CONFLICT', `the host ${host.name} is revoked: remove it and let a new token make another`);
  }
  return host;
}

function toView({ tokenHash: _, ...row }: HawserTokenRow, names: ReadonlyMap<string, string>): HawserTokenView {
  return { ...row, hostName: row.hostId === undefined ? undefined : names.get(row.hostId) };
}
