/** How much of what a session sends may be on its way: near bandwidth × delay, so that what waits, waits in the scheduler. */
import type { LinkStats } from './link-stats.ts';

export class InFlight implements LinkStats {
  #sent = 0;
  #acked = 0;

  get roundTripIdleMs(): number | undefined {
    return undefined;
  }

  get roundTripMs(): number | undefined {
    return undefined;
  }

  get deliveryRate(): number | undefined {
    return undefined;
  }

  get inFlightBytes(): number {
    return this.#sent - this.#acked;
  }

  get inFlightLimit(): number {
    return Number.POSITIVE_INFINITY;
  }

  /** Counts frame bytes out. */
  sent(bytes: number): void {
    this.#sent += bytes;
  }

  /** Takes in how many bytes have arrived in all. */
  acked(total: number): void {
    this.#acked = total;
  }
}
