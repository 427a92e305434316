/** Whether the other end of an Edge connection lives: it is heard of, and reads what it is sent. Meanwhile it is pinged. */
import type { Clock, Timer } from '../clock.ts';

export interface LivenessOptions {
  readonly clock: Clock;
  /** How often it is pinged. */
  readonly pingMs: number;
  /** How long it may say nothing, or leave unread what waits for it. */
  readonly silentMs: number;
  /** Whether more waits for it than it may leave unread for long. */
  isBehind(): boolean;
  ping(): void;
  /** Must call `close`. */
  onDead(why: 'silent' | 'does not read'): void;
}

export class Liveness {
  readonly #options: LivenessOptions;
  readonly #timer: Timer;
  #heardAt: number;
  #pingAt: number;
  #behindSince: number | undefined;

  constructor(options: LivenessOptions) {
    this.#options = options;
    this.#heardAt = options.clock.monotonic();
    this.#pingAt = this.#heardAt;
    this.#timer = options.clock.setInterval(() => this.#look(), options.pingMs / 4);
  }

  /** Something came from it. */
  heard(): void {
    this.#heardAt = this.#options.clock.monotonic();
  }

  /** Looks no more. Idempotent. */
  close(): void {
    this.#timer.cancel();
  }

  #look(): void {
    const { clock, pingMs, silentMs, isBehind, ping, onDead } = this.#options;
    const now = clock.monotonic();
    if (now - this.#heardAt >= silentMs) return void onDead('silent');
    if (!isBehind()) this.#behindSince = undefined;
    else this.#behindSince ??= now;
    if (now - (this.#behindSince ?? now) >= silentMs) return void onDead('does not read');
    if (now - this.#pingAt < pingMs) return;
    this.#pingAt = now;
    ping();
  }
}
