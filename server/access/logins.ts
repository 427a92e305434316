/** Login by password: off until a user exists; what it opens is a session, which ends by time, by logout, or with its user. */
import type { BaseLogger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Audit } from '../audit/audit.ts';
import { RefusedRequest } from '../audit/refused-request.ts';
import type { Store } from '../store/store.ts';
import type { UserRow } from '../store/users.ts';
import type { Principal } from './api-tokens.ts';
import { scopeOf } from './grants.ts';
import { type Attempt, Lockout } from './lockout.ts';
import type { PasswordHasher } from './password-hash.ts';
import { Revocations } from './revocations.ts';
import { csrfToken, fitsCsrfToken, type Session, Sessions } from './sessions.ts';

export interface LoginRequest {
  readonly user: string;
  readonly password: string;
  readonly address: string;
}

/** A session as its own user sees it. */
export interface SessionView {
  readonly user: string;
  readonly role: Principal['role'];
  readonly hosts: readonly string[];
  readonly tags: readonly string[];
  readonly csrfToken: string;
  /** ms since 1970. */
  readonly expiresAt: number;
}

export interface LoginsDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error' | 'warn'>;
  readonly hasher: PasswordHasher;
}

export class Logins {
  readonly #deps: LoginsDeps;
  readonly #lockout: Lockout;
  readonly #revocations: Revocations;
  readonly #sessions: Sessions;

  constructor(deps: LoginsDeps) {
    this.#deps = deps;
    this.#lockout = new Lockout(deps.clock);
    this.#revocations = new Revocations(deps.log);
    this.#sessions = new Sessions(deps.clock, (id) => this.#revocations.announce(tokenId(id)));
  }

  /**
   * Opens a session. @returns it with the secret for its cookie.
   * @throws RefusedRequest, the same and after the same work whatever is wrong; FairleadError RATE_LIMITED after too many of
   * those, OVERLOADED, NOT_FOUND while there is no user at all
   */
  async login(request: LoginRequest): Promise<{ secret: string; session: SessionView }> {
    const { store, hasher } = this.#deps;
    if (await store.users.isEmpty()) {
      throw new FairleadError(
        'NOT_FOUND',
        'login by password is off: an administrator adds a user with `fairlead user create`',
      );
    }
    const attempt = this.#lockout.begin(request.user, request.address);
    let user: UserRow | undefined;
    let fits: boolean;
    try {
      user = await store.users.findByName(request.user);
      fits = await hasher.fits(request.password, user?.passwordHash);
    } catch (error) {
      attempt.withdrawn();
      throw error;
    }
    if (user === undefined || !fits) throw refusal(request, user, attempt);
    return await this.#open(user, request, attempt);
  }

  async #open(
    user: UserRow,
    request: LoginRequest,
    attempt: Attempt,
  ): Promise<{ secret: string; session: SessionView }> {
    const { audit, clock, store } = this.#deps;
    const { name } = user;
    const { address } = request;
    const { secret, session } = this.#sessions.begin(user);
    try {
      // Looked at again now that the session can be found and ended: the user may have gone while the hash was made.
      const now = await store.users.findByName(name);
      if (now?.id !== user.id || now.passwordHash !== user.passwordHash) throw refusal(request, undefined, attempt);
      const detail = { method: 'password', session: session.id };
      await store.transaction(async (tables) => {
        await tables.users.markLogin(user.id, clock.now());
        await audit.record({ actor: name, address, action: 'login', result: 'ok', detail }, tables);
      });
    } catch (error) {
      this.#sessions.end(session.id);
      if (!(error instanceof RefusedRequest)) attempt.withdrawn();
      throw error;
    }
    attempt.succeeded();
    return { secret, session: toView(session, secret) };
  }

  /** Whom the session of `secret` stands for. @throws FairleadError UNAUTHORIZED */
  async authenticate(secret: string): Promise<Principal> {
    const { id, user, expiresAt } = this.#session(secret);
    return { tokenId: tokenId(id), name: user.name, role: user.role, expiresAt, ...scopeOf(user) };
  }

  /** Whether `token` came from the answer that opened the session of `secret`. */
  fitsCsrfToken(secret: string, token: string): boolean {
    return fitsCsrfToken(secret, token);
  }

  /** @throws FairleadError UNAUTHORIZED */
  session(secret: string): SessionView {
    return toView(this.#session(secret), secret);
  }

  /** Ends the session of `secret` and what it holds open. @throws FairleadError UNAUTHORIZED */
  async logout(secret: string, address: string | undefined): Promise<void> {
    const { id, user } = this.#session(secret);
    this.#sessions.end(id);
    const detail = { session: id };
    await this.#deps.audit.recordOrLog({ actor: user.name, address, action: 'logout', result: 'ok', detail });
  }

  /** Ends all sessions of a user, and what they hold open. */
  endOfUser(userId: string): void {
    this.#sessions.endOfUser(userId);
  }

  /** Calls `listener` with the token id of each session that ends. @returns a function that stops it. */
  onRevoked(listener: (tokenId: string) => void): () => void {
    return this.#revocations.onRevoked(listener);
  }

  /** Ends all sessions. Idempotent. */
  close(): void {
    this.#sessions.close();
  }

  #session(secret: string): Session {
    const session = this.#sessions.use(secret);
    if (session === undefined) throw new FairleadError('UNAUTHORIZED', 'the session is over: log in again');
    return session;
  }
}

/** The name is kept only if it is a user's: people type passwords into the wrong field. */
function refusal({ address }: LoginRequest, user: UserRow | undefined, { locksOut }: Attempt): RefusedRequest {
  return new RefusedRequest(new FairleadError('UNAUTHORIZED', 'the user or the password is wrong'), {
    actor: 'anonymous',
    address,
    action: locksOut ? 'login.lockout' : 'login',
    ...(user === undefined ? {} : { target: user.name }),
    result: 'refused',
    detail: { method: 'password' },
  });
}

function tokenId(sessionId: string): string {
  return `login:${sessionId}`;
}

function toView({ user, expiresAt }: Session, secret: string): SessionView {
  const { name, role, hosts, tags } = user;
  return { user: name, role, hosts, tags, csrfToken: csrfToken(secret), expiresAt };
}
