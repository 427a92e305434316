/**
 * Sessions of users who have logged in: in memory only, known by the hash of a random secret. A restart ends them all,
 * which costs a login and means that no copy of the store opens anything.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Role } from '../../shared/messages/kind.ts';
import type { HostScope } from './scope.ts';

const SECRET_BYTES = 32;
const ID_BYTES = 10;
/** Without a request a session ends after … */
const SESSION_IDLE_MS = 30 * 60_000;
/** … and whatever happens after … */
const SESSION_MAX_MS = 12 * 60 * 60_000;
const MAX_SESSIONS = 2_000;
const MAX_SESSIONS_OF_USER = 20;
const SECRET = /^[A-Za-z0-9_-]{43}$/;

export interface SessionUser extends HostScope {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
}

export interface Session {
  /** Random; no secret. */
  readonly id: string;
  readonly user: SessionUser;
  /** ms since 1970. */
  readonly expiresAt: number;
}

/** Times are the clock's monotonic ones. */
interface Held {
  readonly session: Session;
  readonly key: string;
  readonly endsAt: number;
  usedAt: number;
  timer: Timer | undefined;
}

export class Sessions {
  readonly #clock: Clock;
  readonly #onEnd: (sessionId: string) => void;
  /** By the hash of its secret; what was used longest ago comes first. */
  readonly #held = new Map<string, Held>();

  /** @param onEnd is called with the id of each session that ends, in the turn in which it does */
  constructor(clock: Clock, onEnd: (sessionId: string) => void) {
    this.#clock = clock;
    this.#onEnd = onEnd;
  }

  get size(): number {
    return this.#held.size;
  }

  /** @returns the session, and the secret that its holder shows */
  begin(user: SessionUser): { session: Session; secret: string } {
    const secret = randomBytes(SECRET_BYTES).toString('base64url');
    const now = this.#clock.monotonic();
    const session = {
      id: randomBytes(ID_BYTES).toString('hex'),
      user,
      expiresAt: this.#clock.now() + SESSION_MAX_MS,
    };
    const held: Held = { session, key: keyOf(secret), endsAt: now + SESSION_MAX_MS, usedAt: now, timer: undefined };
    this.#held.set(held.key, held);
    this.#watch(held);
    this.#makeRoom(user.id);
    return { session, secret };
  }

  /** The session of `secret`, if there is one; this counts as a use. */
  use(secret: string): Session | undefined {
    const held = SECRET.test(secret) ? this.#held.get(keyOf(secret)) : undefined;
    if (held === undefined) return undefined;
    const now = this.#clock.monotonic();
    // Timers may be late, after a machine has slept for instance.
    if (now >= this.#overAt(held)) {
      this.#end(held);
      return undefined;
    }
    held.usedAt = now;
    this.#held.delete(held.key);
    this.#held.set(held.key, held);
    return held.session;
  }

  /** Idempotent. */
  end(sessionId: string): void {
    for (const held of this.#held.values()) if (held.session.id === sessionId) this.#end(held);
  }

  endOfUser(userId: string): void {
    for (const held of this.#held.values()) if (held.session.user.id === userId) this.#end(held);
  }

  /** Ends all. Idempotent. */
  close(): void {
    for (const held of this.#held.values()) this.#end(held);
  }

  #overAt({ usedAt, endsAt }: Held): number {
    return Math.min(usedAt + SESSION_IDLE_MS, endsAt);
  }

  #watch(held: Held): void {
    const left = this.#overAt(held) - this.#clock.monotonic();
    if (left <= 0) this.#end(held);
    else held.timer = this.#clock.setTimeout(() => this.#watch(held), left);
  }

  #end(held: Held): void {
    held.timer?.cancel();
    if (this.#held.delete(held.key)) this.#onEnd(held.session.id);
  }

  #makeRoom(userId: string): void {
    const own = [...this.#held.values()].filter(({ session }) => session.user.id === userId);
    const [oldest] =
      own.length > MAX_SESSIONS_OF_USER ? own : this.#held.size > MAX_SESSIONS ? this.#held.values() : [];
    if (oldest !== undefined) this.#end(oldest);
  }
}

/** What a page must send along with what it changes: known to whoever can read the login's answer, and made of the secret. */
export function csrfToken(secret: string): string {
  return createHmac('sha256', secret).update('fairlead csrf').digest('base64url');
}

/** Whether `token` belongs to `secret`, in a time that does not depend on either. */
export function fitsCsrfToken(secret: string, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(csrfToken(secret)), digest(token));
}

function keyOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
