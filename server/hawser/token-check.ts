/**
 * Checks the token of a hello. Whoever has none is told so at the price of one that exists, and a flood of them takes no more
 * of the machine than the rates here allow. What was found out before saves the hash, never the look at the token's row.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { BaseLogger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { Budget } from '../../shared/mux/budget.ts';
import { networkOf } from '../../shared/network.ts';
import { FailureDelays } from '../access/failure-delays.ts';
import type { HasherLimits, PasswordHasher } from '../access/password-hash.ts';
import { keepRecent } from '../keep-recent.ts';
import type { HawserTokenRow } from '../store/hawser-tokens.ts';
import type { Store } from '../store/store.ts';
import { PREFIX_CHARS } from './tokens.ts';

/**
 * Hellos whose token was not seen lately, each with what may come at once: of one address; of all, if a token begins so; and
 * of all others, so that whoever makes tokens up leaves the hashes to the agents that all come back at once.
 */
const RATES = {
  ofAddress: { perSecond: 1, burst: 60 },
  begun: { perSecond: 20, burst: 200 },
  unknown: { perSecond: 2, burst: 20 },
};
/** What this alone is to hash: slowly, for the token is 256 random bits, but the store keeps no weaker hash. */
export const HASHES: HasherLimits = { atOnce: 1, waiting: 64 };
/** Of those, tokens that begin like none. */
const MAX_UNKNOWN_AT_ONCE = 8;
/** Failures of one token from one address that cost no wait: agents with a wrong one never give up. */
const FREE_FAILURES = 3;
/** Addresses that are remembered. */
const MAX_ADDRESSES = 10_000;
/** Tokens whose hash was found to fit. */
const MAX_PROVEN = 10_000;
/** Tokens that may begin alike: two do by chance once in 2^48. */
const MAX_ALIKE = 4;
/** As a token is made; whatever is longer is none. */
const TOKEN = /^[A-Za-z0-9_-]{43}$/;

export interface TokenCheckDeps {
  readonly store: Pick<Store, 'hawserTokens'>;
  readonly clock: Clock;
  readonly hasher: PasswordHasher;
  readonly log: Pick<BaseLogger, 'warn'>;
}

export class TokenCheck {
  readonly #deps: TokenCheckDeps;
  readonly #failures: FailureDelays;
  readonly #ofAddress = new Map<string, Budget>();
  readonly #begun: Budget;
  readonly #unknown: Budget;
  /** Ids of tokens by a digest of the token, under a key that this process alone has. */
  readonly #proven = new Map<string, string>();
  readonly #key = randomBytes(32);
  #unknownNow = 0;

  constructor(deps: TokenCheckDeps) {
    this.#deps = deps;
    this.#failures = new FailureDelays({ clock: deps.clock, free: FREE_FAILURES });
    const now = deps.clock.monotonic();
    this.#begun = new Budget(RATES.begun.perSecond, RATES.begun.burst, now);
    this.#unknown = new Budget(RATES.unknown.perSecond, RATES.unknown.burst, now);
  }

  /**
   * The row of the token, which may end at any time from here on.
   * @throws FairleadError TOKEN_INVALID, the same one whatever is wrong with the token; RATE_LIMITED, OVERLOADED
   */
  async check(token: string, address: string): Promise<HawserTokenRow> {
    const digest = createHmac('sha256', this.#key).update(token).digest('base64');
    const id = this.#proven.get(digest) ?? (await this.#prove(token, digest, address));
    const row = id === undefined ? undefined : await this.current(id);
    if (row === undefined) {
      this.#failures.fail(failureKey(token, address));
      throw new FairleadError('TOKEN_INVALID', 'the Hawser token is unknown, expired or revoked');
    }
    await this.#noteUse(row, address);
    return row;
  }

  /** The row of a token as it is now; undefined if it may not be used any more. */
  async current(tokenId: string): Promise<HawserTokenRow | undefined> {
    const row = await this.#deps.store.hawserTokens.find(tokenId);
    const isOver = row?.expiresAt !== undefined && row.expiresAt <= this.#deps.clock.now();
    return row === undefined || row.revokedAt !== undefined || isOver ? undefined : row;
  }

  /** @returns the id of the token. @throws FairleadError RATE_LIMITED, OVERLOADED */
  async #prove(token: string, digest: string, address: string): Promise<string | undefined> {
    this.#admit(token, address);
    // What no token looks like is no secret.
    if (!TOKEN.test(token)) return undefined;
    const alike = await this.#deps.store.hawserTokens.startingWith(token.slice(0, PREFIX_CHARS), MAX_ALIKE);
    if (alike.length === 0) return await this.#proveNothing(token);
    const { perSecond } = RATES.begun;
    if (!this.#begun.take(this.#deps.clock.monotonic()))
      throw tooMany('too many agents show new tokens', 1 / perSecond);
    for (const row of alike) {
      if (!(await this.#deps.hasher.fits(token, row.tokenHash))) continue;
      keepRecent(this.#proven, digest, row.id, MAX_PROVEN);
      return row.id;
    }
    return undefined;
  }

  /** One hash, as for a token that there is. @throws FairleadError RATE_LIMITED, OVERLOADED */
  async #proveNothing(token: string): Promise<undefined> {
    const { clock, hasher } = this.#deps;
    const hasRoom = this.#unknownNow < MAX_UNKNOWN_AT_ONCE;
    if (!hasRoom || !this.#unknown.take(clock.monotonic())) {
      throw tooMany('too many agents show unknown tokens', 1 / RATES.unknown.perSecond);
    }
    this.#unknownNow++;
    try {
      await hasher.fits(token, undefined);
    } finally {
      this.#unknownNow--;
    }
  }

  /** @throws FairleadError RATE_LIMITED */
  #admit(token: string, address: string): void {
    const now = this.#deps.clock.monotonic();
    const network = networkOf(address);
    const waitMs = this.#failures.waitMs(failureKey(token, address));
    if (waitMs > 0) throw tooMany('this token failed too often', waitMs / 1000);
    const { perSecond, burst } = RATES.ofAddress;
    const budget = this.#ofAddress.get(network) ?? new Budget(perSecond, burst, now);
    keepRecent(this.#ofAddress, network, budget, MAX_ADDRESSES);
    if (!budget.take(now)) throw tooMany('too many agents from this address show new tokens', 1 / perSecond);
  }

  /** A time of use that is not saved is no reason to refuse. */
  async #noteUse(row: HawserTokenRow, address: string): Promise<void> {
    try {
      await this.#deps.store.hawserTokens.markUsed(row.id, this.#deps.clock.now(), address);
    } catch (error) {
      this.#deps.log.warn({ err: error, tokenId: row.id }, 'the time of use of a Hawser token was not saved');
    }
  }
}

function failureKey(token: string, address: string): string {
  return `${networkOf(address)} ${token.slice(0, PREFIX_CHARS)}`;
}

function tooMany(why: string, seconds: number): FairleadError {
  return new FairleadError('RATE_LIMITED', why, { retryAfterSeconds: Math.max(1, Math.ceil(seconds)) });
}
