/** How often hosts may have something to say of their upgrades that is written down. */
import type { Clock } from '../../shared/clock.ts';
import { Budget } from '../../shared/mux/budget.ts';
import { keepRecent } from '../keep-recent.ts';

/** Changes of state that one host may tell of: some more than an upgrade has steps. */
const CHANGES_PER_SECOND = 0.5;
const CHANGE_BURST = 30;
/** Other words on what had ended, each of which leaves a row in the audit log. */
const LATE_PER_SECOND = 1 / 60;
const LATE_BURST = 3;
/** Hosts of which that is remembered: those that spoke last. */
const MAX_TELLERS = 20_000;

export class Tellers {
  readonly #clock: Clock;
  readonly #changes = new Map<string, Budget>();
  readonly #corrections = new Map<string, Budget>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether what a host says of the step that it is at counts. An agent says it again. */
  mayTell(hostId: string): boolean {
    return this.#take(this.#changes, hostId, CHANGES_PER_SECOND, CHANGE_BURST);
  }

  /** Whether a host may take back how its upgrade has ended. */
  mayCorrect(hostId: string): boolean {
    return this.#take(this.#corrections, hostId, LATE_PER_SECOND, LATE_BURST);
  }

  #take(budgets: Map<string, Budget>, hostId: string, perSecond: number, burst: number): boolean {
    const now = this.#clock.monotonic();
    const budget = budgets.get(hostId) ?? new Budget(perSecond, burst, now);
    keepRecent(budgets, hostId, budget, MAX_TELLERS);
    return budget.take(now);
  }
}
