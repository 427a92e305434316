/** Counts what is too much to be reported one by one, and reports once a minute how much it was. */
import type { Clock, Timer } from '../shared/clock.ts';

const REPORT_MS = 60_000;

export class Tally {
  readonly #clock: Clock;
  readonly #report: (count: number) => unknown;
  #count = 0;
  #timer: Timer | undefined;

  /** @param report is called a minute after the first of those that it is told of; must not throw or reject */
  constructor(clock: Clock, report: (count: number) => unknown) {
    this.#clock = clock;
    this.#report = report;
  }

  add(): void {
    this.#count++;
    this.#timer ??= this.#clock.setTimeout(() => void this.flush(), REPORT_MS);
  }

  /** Reports now what there is. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    const count = this.#count;
    this.#count = 0;
    if (count > 0) await this.#report(count);
  }
}
