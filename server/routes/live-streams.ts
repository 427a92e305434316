/** Streams that clients hold open: each ends when its client leaves, its token is revoked or expires, or the API closes. */
import type { ServerResponse } from 'node:http';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Principal, Revocable } from './deps.ts';
import { MAX_LIVE_STREAMS, MAX_LIVE_STREAMS_OF_TOKEN } from './limits.ts';

/** Ids of revoked tokens that are remembered, for requests that were being authenticated meanwhile. */
const MAX_REVOKED = 1000;

/** One open stream. */
export interface LiveStream {
  readonly tokenId: string;
  /** Fires with a FairleadError when the stream must end. */
  readonly signal: AbortSignal;
  end(error: FairleadError): void;
  /** Says that the stream has ended. Idempotent. */
  release(): void;
}

export class LiveStreams {
  readonly #clock: Clock;
  readonly #streams = new Set<LiveStream>();
  readonly #perToken = new Map<string, number>();
  readonly #revoked = new Set<string>();
  readonly #unsubscribe: () => void;
  #closed = false;

  constructor(credentials: Revocable, clock: Clock) {
    this.#clock = clock;
    this.#unsubscribe = credentials.onRevoked((tokenId) => this.#revoke(tokenId));
  }

  get size(): number {
    return this.#streams.size;
  }

  /** Begins a stream for `principal`. @throws FairleadError OVERLOADED, SHUTDOWN, UNAUTHORIZED if the token was just revoked */
  begin(principal: Principal): LiveStream {
    if (this.#closed) throw shutdown();
    if (this.#revoked.has(principal.tokenId)) throw revoked();
    if (this.#streams.size >= MAX_LIVE_STREAMS) {
      throw new FairleadError('OVERLOADED', `${MAX_LIVE_STREAMS} streams are open already; close some of them`);
    }
    if (this.#countOf(principal.tokenId) >= MAX_LIVE_STREAMS_OF_TOKEN) {
      throw new FairleadError(
        'OVERLOADED',
        `${MAX_LIVE_STREAMS_OF_TOKEN} streams of this token are open already; close some of them`,
      );
    }
    const controller = new AbortController();
    const expiry = this.#armExpiry(principal, (error) => controller.abort(error));
    const stream: LiveStream = {
      tokenId: principal.tokenId,
      signal: controller.signal,
      end: (error) => controller.abort(error),
      release: () => {
        expiry.cancel();
        if (this.#streams.delete(stream)) this.#perToken.set(stream.tokenId, this.#countOf(stream.tokenId) - 1);
        if (this.#countOf(stream.tokenId) === 0) this.#perToken.delete(stream.tokenId);
      },
    };
    this.#streams.add(stream);
    this.#perToken.set(principal.tokenId, this.#countOf(principal.tokenId) + 1);
    return stream;
  }

  #countOf(tokenId: string): number {
    return this.#perToken.get(tokenId) ?? 0;
  }

  /** As `begin`, for a stream that also ends when the client of `response` leaves. */
  beginFor(response: ServerResponse, principal: Principal): LiveStream {
    const stream = this.begin(principal);
    // It may have left while its token was looked up: nothing would tell of it any more.
    if (response.destroyed) stream.end(clientGone());
    else response.once('close', () => stream.end(clientGone()));
    return stream;
  }

  /** Ends all streams and refuses new ones. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    for (const stream of this.#streams) stream.end(shutdown());
  }

  #revoke(tokenId: string): void {
    this.#revoked.add(tokenId);
    for (const oldest of this.#revoked) {
      if (this.#revoked.size <= MAX_REVOKED) break;
      this.#revoked.delete(oldest);
    }
    for (const stream of this.#streams) if (stream.tokenId === tokenId) stream.end(revoked());
  }

  #armExpiry({ expiresAt }: Principal, end: (error: FairleadError) => void): Timer {
    if (expiresAt === null || expiresAt === undefined) return { cancel: () => undefined };
    const at = new Date(expiresAt).getTime();
    let timer: Timer;
    // A clock may clamp a long wait: the date is looked at again each time.
    const wait = () => {
      const left = at - this.#clock.now();
      if (left <= 0) end(new FairleadError('UNAUTHORIZED', 'the API token, certificate or session has expired'));
      else timer = this.#clock.setTimeout(wait, left);
    };
    timer = this.#clock.setTimeout(wait, Math.max(0, at - this.#clock.now()));
    return { cancel: () => timer.cancel() };
  }
}

/** Why a stream ends whose client has left. */
export function clientGone(): FairleadError {
  return new FairleadError('CANCELLED', 'the client went away');
}

function revoked(): FairleadError {
  return new FairleadError('UNAUTHORIZED', 'the API token, certificate or session that opened this has ended');
}

function shutdown(): FairleadError {
  return new FairleadError('SHUTDOWN', 'the server is shutting down');
}
