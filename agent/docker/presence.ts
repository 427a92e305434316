/** Whether the host's Docker Engine is there: asked at a pace, and at once when a call has met something else. */
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import { MAX_REASON_CHARS } from '../../shared/limits.ts';
import type { DockerState } from '../../shared/messages/control.ts';

/** How often Docker is asked whether it is there, while it is and while it is not. */
const POLL_REACHABLE_MS = 15_000;
const POLL_UNREACHABLE_MS = 2_000;

/** What Docker says of its version. */
export type DockerVersion = Readonly<Record<string, unknown>>;

export interface DockerPresenceOptions {
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Asks Docker for its version. */
  askVersion(): Promise<DockerVersion>;
}

export class DockerPresence {
  readonly #options: DockerPresenceOptions;
  readonly #listeners = new Set<(state: DockerState) => void>();
  #state: DockerState = { reachable: false, reason: 'Docker has not been asked yet' };
  #isPolling = false;
  #timer: Timer | undefined;
  #asking: Promise<void> | undefined;

  constructor(options: DockerPresenceOptions) {
    this.#options = options;
  }

  /** What is known of Docker now. */
  get state(): DockerState {
    return this.#state;
  }

  /** Calls `listener` at every change of `state`, until the returned function is called. */
  onState(listener: (state: DockerState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begins to poll. Resolves when Docker has answered, or failed to, for the first time. Idempotent. */
  async start(): Promise<void> {
    this.#isPolling = true;
    await this.ask();
  }

  /** Ends polling. Idempotent. */
  close(): void {
    this.#isPolling = false;
    this.#timer?.cancel();
  }

  /** Asks Docker now, while it is polled. One question at a time. */
  ask(): Promise<void> {
    if (!this.#isPolling) return Promise.resolve();
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
      this.#schedule();
    });
    return this.#asking;
  }

  /** Docker could not be reached. */
  lost(reason: string): void {
    this.#set({ reachable: false, reason: reason.slice(0, MAX_REASON_CHARS) });
  }

  async #ask(): Promise<void> {
    try {
      const { Version, ApiVersion } = await this.#options.askVersion();
      this.#set({
        reachable: true,
        ...(typeof Version === 'string' ? { version: Version.slice(0, 64) } : {}),
        ...(typeof ApiVersion === 'string' ? { apiVersion: ApiVersion.slice(0, 16) } : {}),
      });
    } catch (error) {
      if (this.#isPolling) this.lost(error instanceof Error ? error.message : String(error));
    }
  }

  #schedule(): void {
    this.#timer?.cancel();
    if (!this.#isPolling) return;
    const delay = this.#state.reachable ? POLL_REACHABLE_MS : POLL_UNREACHABLE_MS;
    this.#timer = this.#options.clock.setTimeout(() => void this.ask(), delay);
  }

  #set(state: DockerState): void {
    const before = this.#state;
    this.#state = state;
    if (
      before.reachable === state.reachable &&
      before.version === state.version &&
      before.apiVersion === state.apiVersion &&
      before.reason === state.reason
    ) {
      return;
    }
    const { log } = this.#options;
    if (state.reachable) log.info({ docker: state }, 'Docker is reachable');
    else log.warn({ docker: state }, 'Docker is not reachable');
    for (const listener of this.#listeners) listener(state);
    if (before.reachable && this.#asking === undefined) this.#schedule();
  }
}
