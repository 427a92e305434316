/**
 * Streams that clients hold open: each ends when its client leaves, its token ends, its host leaves the token's scope, or
 * the API closes.
 */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { includesHost } from '../access/scope.ts';
import type { Principal, Revocable } from './deps/caller.ts';
import type { HostsService } from './deps/hosts.ts';
import { Expiry } from './expiry.ts';
import { MAX_LIVE_STREAMS, MAX_LIVE_STREAMS_OF_TOKEN } from './limits.ts';

/**
 * Tokens that end, and hosts that change, of which it is remembered how, for requests that were being let in meanwhile:
 * those that changed last.
 */
const MAX_REMEMBERED = 1000;

/**
 * What becomes of a stream as the server stops: one that has an end of its own gets time for it, one that has none is ended at
 * once, as is one whose work goes on without it.
 */
export type Lasting = 'ends' | 'endless';

/** One open stream. */
export interface LiveStream {
  readonly tokenId: string;
  /** Fires with a FairleadError when the stream must end. */
  readonly signal: AbortSignal;
  end(error: FairleadError): void;
  /** Says that the stream has ended. Idempotent. */
  release(): void;
}

/** As it is kept here. */
interface OpenStream extends LiveStream {
  readonly principal: Principal;
  readonly lasting: Lasting;
  /** Ends it at that time, ms since 1970, unless it ends sooner. */
  endAt(time: number): void;
}

export interface StreamEnds {
  /** All sorts of credentials by which a stream can be opened. */
  readonly credentials: readonly Revocable[];
  readonly hosts: Pick<HostsService, 'onScopeChange'>;
}

export class LiveStreams {
  readonly #clock: Clock;
  readonly #streams = new Set<OpenStream>();
  readonly #perToken = new Map<string, number>();
  /** When tokens end, ms since 1970; undefined: they have. */
  readonly #ends = new Map<string, number | undefined>();
  /** The tags of hosts; undefined of those that were removed. */
  readonly #tags = new Map<string, readonly string[] | undefined>();
  readonly #unsubscribe: readonly (() => void)[];
  #draining = false;
  #closed = false;

  constructor({ credentials, hosts }: StreamEnds, clock: Clock) {
    this.#clock = clock;
    this.#unsubscribe = [
      ...credentials.map((one) => one.onRevoked((tokenId, endsAt) => this.#endToken(tokenId, endsAt))),
      hosts.onScopeChange((hostId, tags) => this.#retag(hostId, tags)),
    ];
  }

  get size(): number {
    return this.#streams.size;
  }

  /**
   * Begins a stream for `principal`.
   * @throws FairleadError OVERLOADED, SHUTDOWN, UNAUTHORIZED if the token was just revoked, HOST_NOT_FOUND if the host has
   * just left its scope
   */
  begin(principal: Principal, lasting: Lasting = 'ends'): LiveStream {
    const { tokenId } = principal;
    if (this.#closed || (this.#draining && lasting === 'endless')) throw shutdown();
    const hasEnded = this.#ends.has(tokenId) && this.#ends.get(tokenId) === undefined;
    if (hasEnded) throw revoked();
    if (this.#isOutOfScope(principal)) throw outOfScope();
    if (this.#streams.size >= MAX_LIVE_STREAMS) {
      throw new FairleadError('OVERLOADED', `${MAX_LIVE_STREAMS} streams are open already; close some of them`);
    }
    if (this.#countOf(tokenId) >= MAX_LIVE_STREAMS_OF_TOKEN) {
      throw new FairleadError(
        'OVERLOADED',
        `${MAX_LIVE_STREAMS_OF_TOKEN} streams of this token are open already; close some of them`,
      );
    }
    const stream = this.#open(principal, lasting);
    this.#streams.add(stream);
    this.#perToken.set(tokenId, this.#countOf(tokenId) + 1);
    return stream;
  }

  #open(principal: Principal, lasting: Lasting): OpenStream {
    const { tokenId } = principal;
    const controller = new AbortController();
    const expiry = new Expiry(this.#clock, () => controller.abort(expired()));
    const { expiresAt } = principal;
    if (expiresAt !== null && expiresAt !== undefined) expiry.set(new Date(expiresAt).getTime());
    const shortened = this.#ends.get(tokenId);
    if (shortened !== undefined) expiry.set(shortened);
    const stream: OpenStream = {
      tokenId,
      principal,
      lasting,
      signal: controller.signal,
      end: (error) => controller.abort(error),
      endAt: (time) => expiry.set(time),
      release: () => {
        expiry.cancel();
        if (this.#streams.delete(stream)) this.#perToken.set(tokenId, this.#countOf(tokenId) - 1);
        if (this.#countOf(tokenId) === 0) this.#perToken.delete(tokenId);
      },
    };
    return stream;
  }

  #countOf(tokenId: string): number {
    return this.#perToken.get(tokenId) ?? 0;
  }

  /** As `begin`, for a stream that also ends when the client of `response` leaves. */
  beginFor(response: ServerResponse, principal: Principal, lasting: Lasting = 'ends'): LiveStream {
    const stream = this.begin(principal, lasting);
    // It may have left while its token was looked up: nothing would tell of it any more.
    if (response.destroyed) stream.end(clientGone());
    else response.once('close', () => stream.end(clientGone()));
    return stream;
  }

  /** Ends those that have no end of their own, and refuses new ones of them. Idempotent. */
  drain(): void {
    this.#draining = true;
    for (const stream of this.#streams) if (stream.lasting === 'endless') stream.end(shutdown());
  }

  /** Ends all streams and refuses new ones. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const stream of this.#streams) stream.end(shutdown());
  }

  #endToken(tokenId: string, endsAt: number | undefined): void {
    remember(this.#ends, tokenId, endsAt);
    for (const stream of this.#streams) {
      if (stream.tokenId !== tokenId) continue;
      if (endsAt === undefined) stream.end(revoked());
      else stream.endAt(endsAt);
    }
  }

  #retag(hostId: string, tags: readonly string[] | undefined): void {
    remember(this.#tags, hostId, tags);
    for (const stream of this.#streams) {
      if (stream.principal.hostId === hostId && this.#isOutOfScope(stream.principal)) stream.end(outOfScope());
    }
  }

  /** Whether the host that `principal` asks about is known to have left its scope. */
  #isOutOfScope({ scope, hostId }: Principal): boolean {
    if (scope === undefined || hostId === undefined || !this.#tags.has(hostId)) return false;
    const tags = this.#tags.get(hostId);
    return tags === undefined || !includesHost(scope, { id: hostId, tags });
  }
}

/** Puts `key` last, and forgets what was put longest ago. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= MAX_REMEMBERED) break;
    map.delete(oldest);
  }
}

/** Why a stream ends whose client has left. */
export function clientGone(): FairleadError {
  return new FairleadError('CANCELLED', 'the client went away');
}

function revoked(): FairleadError {
  return new FairleadError('UNAUTHORIZED', 'the API token, certificate or session that opened this has ended');
}

function expired(): FairleadError {
  return new FairleadError('UNAUTHORIZED', 'the API token, certificate or session has expired');
}

function outOfScope(): FairleadError {
  return new FairleadError('HOST_NOT_FOUND', "the host has left the caller's scope");
}

function shutdown(): FairleadError {
  return new FairleadError('SHUTDOWN', 'the server is shutting down');
}
