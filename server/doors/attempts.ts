/** How many handshakes of each address have come to nothing of late. Remembers the addresses that tried last, and no more. */
import { Budget } from '../../shared/mux/budget.ts';
import { keepRecent } from '../keep-recent.ts';
import type { HandshakeLimits } from './limits.ts';

export class Attempts {
  readonly #limits: Pick<HandshakeLimits, 'unfinished' | 'forgivenPerSecond' | 'remembered'>;
  /** The address that tried last is the last one. */
  readonly #budgets = new Map<string, Budget>();

  constructor(limits: Pick<HandshakeLimits, 'unfinished' | 'forgivenPerSecond' | 'remembered'>) {
    this.#limits = limits;
  }

  /** Addresses that are remembered. */
  get size(): number {
    return this.#budgets.size;
  }

  /** Counts a handshake of `address` that begins at `now`. @returns false, and counts nothing, if too many were not finished */
  begin(address: string, now: number): boolean {
    const { forgivenPerSecond, unfinished, remembered } = this.#limits;
    const budget = this.#budgets.get(address) ?? new Budget(forgivenPerSecond, unfinished, now);
    keepRecent(this.#budgets, address, budget, remembered);
    return budget.take(now);
  }

  /** One of them was finished. */
  finish(address: string): void {
    this.#budgets.get(address)?.give(1);
  }
}
