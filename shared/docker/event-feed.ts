/**
 * A host's events, from the first time that somebody asks for them until the feed ends: they are collected while nobody asks,
 * too, and given away until it is said that they have arrived.
 */
import { randomUUID } from 'node:crypto';
import type { HostEvent, hostEvents } from '../messages/host-events.ts';
import type { Params, Reply } from '../messages/kind.ts';
import { EventQueue } from './event-queue.ts';
import { type EventSource, type EventWarnings, followEvents, ownEvent } from './follow-events.ts';

export interface EventFeedOptions {
  readonly docker: EventSource;
  readonly log: EventWarnings;
}

export class EventFeed {
  readonly #options: EventFeedOptions;
  readonly #id = randomUUID();
  readonly #queue: EventQueue;
  /** Whoever waits for an event. */
  readonly #waiters = new Set<() => void>();
  #following: AbortController | undefined;
  /** Why there will be no more events. */
  #failure: unknown;
  #isEnding = false;
  #wasReachable: boolean;

  constructor(options: EventFeedOptions) {
    this.#options = options;
    this.#queue = new EventQueue(() => options.docker.clock.now());
    options.docker.onState(() => this.#noteState());
    this.#wasReachable = options.docker.state.reachable;
  }

  /**
   * The events behind the ones that the server has, as soon as there is one.
   * @throws FairleadError DENIED_BY_HOST, and the signal's reason
   */
  async take(
    { feed, after = 0, sinceMicros }: Params<typeof hostEvents>,
    signal: AbortSignal,
  ): Promise<Reply<typeof hostEvents>> {
    const isOurs = feed === this.#id && this.#following !== undefined && after <= this.#queue.lastSeq;
    if (isOurs) this.#queue.forget(after);
    else this.#begin(sinceMicros);
    const from = isOurs ? after : this.#queue.lastSeq;
    for (;;) {
      signal.throwIfAborted();
      const { last, events } = this.#queue.behind(from);
      if (events.length > 0 || this.#isEnding) return { feed: this.#id, last, events };
      if (this.#failure !== undefined) throw this.#failure;
      await this.#news(signal);
    }
  }

  /** Answers whoever waits, from now on at once: the agent is stopping. Idempotent. */
  end(): void {
    this.#isEnding = true;
    this.#following?.abort();
    this.#wake();
  }

  /** Begins anew: the server stands elsewhere than this feed does. */
  #begin(sinceMicros: number | undefined): void {
    this.#following?.abort();
    this.#queue.forget(this.#queue.lastSeq);
    this.#failure = undefined;
    if (this.#isEnding) return;
    this.#following = new AbortController();
    void this.#follow(sinceMicros, this.#following.signal);
  }

  /** Never rejects. */
  async #follow(sinceMicros: number | undefined, signal: AbortSignal): Promise<void> {
    try {
      for await (const event of followEvents({ ...this.#options, sinceMicros, signal })) this.#add(event);
    } catch (error) {
      if (signal.aborted) return;
      this.#failure = error;
      this.#following = undefined;
      this.#wake();
    }
  }

  #noteState(): void {
    const { docker } = this.#options;
    const { reachable, version, reason } = docker.state;
    if (reachable === this.#wasReachable) return;
    this.#wasReachable = reachable;
    if (this.#following === undefined) return;
    const attributes = reachable ? { ...(version && { version }) } : { ...(reason && { reason }) };
    this.#add(ownEvent('docker', reachable ? 'reachable' : 'unreachable', attributes, docker.clock.now()));
  }

  #add(event: HostEvent): void {
    this.#queue.push(event);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }

  async #news(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.add(resolve);
    const abort = () => resolve();
    signal.addEventListener('abort', abort);
    await promise;
    signal.removeEventListener('abort', abort);
    this.#waiters.delete(resolve);
  }
}
