/** Keystrokes while something else fills the link: echoes at a fixed pace, whether or not the last one came back. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Echo } from './links/link.ts';
import { percentile } from './measure.ts';

export interface Latency {
  /** In ms. */
  p50: number;
  p99: number;
  /** The p99 is that of an echo that had not come back when the measurement ended. */
  atLeast: boolean;
}

interface Keystroke {
  readonly at: number;
  ms: number | undefined;
}

/** How long the last echoes are waited for. */
const GRACE_MS = 1_000;
/** Beyond so many unanswered ones no more are sent: they would only wait behind each other. */
const MAX_UNANSWERED = 200;

export class Echoes {
  readonly #echo: Echo;
  readonly #sent: Keystroke[] = [];
  readonly #timer: NodeJS.Timeout;
  #unanswered = 0;
  #stopped = false;
  #failure: unknown;

  /** @param everyMs the pace; slow enough that the echoes do not fill the link themselves */
  constructor(echo: Echo, everyMs: number) {
    this.#echo = echo;
    this.#timer = setInterval(() => void this.#send(), everyMs);
  }

  async #send(): Promise<void> {
    if (this.#unanswered === MAX_UNANSWERED) return;
    this.#unanswered += 1;
    const keystroke: Keystroke = { at: performance.now(), ms: undefined };
    this.#sent.push(keystroke);
    try {
      await this.#echo();
      keystroke.ms = performance.now() - keystroke.at;
    } catch (error) {
      // Those that wait when the link is closed end with it.
      if (!this.#stopped) this.#failure ??= error;
    } finally {
      this.#unanswered -= 1;
    }
  }

  /** Sends no more and waits a while for the last ones. @throws what one failed with meanwhile */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const until = performance.now() + GRACE_MS;
    while (this.#unanswered > 0 && performance.now() < until) await sleep(10);
    this.#stopped = true;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Of the echoes that were sent between two times of `performance.now()`. */
  latency(from = 0, to = Number.POSITIVE_INFINITY): Latency {
    const now = performance.now();
    const sent = this.#sent.filter(({ at }) => at >= from && at < to);
    const times = sent.map(({ at, ms }) => ms ?? now - at);
    const p99 = percentile(times, 0.99);
    return {
      p50: percentile(times, 0.5),
      p99,
      atLeast: sent.some(({ at, ms }) => ms === undefined && now - at <= p99),
    };
  }
}
