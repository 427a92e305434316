/** How many of something may go on at once: for each host, and in all. */
import { FairleadError } from '../../shared/errors.ts';

export class Slots {
  readonly #what: string;
  readonly #ofHost: number;
  readonly #inAll: number;
  /** As many entries as hosts for which something goes on. */
  readonly #taken = new Map<string, number>();
  #all = 0;

  constructor(what: string, most: { readonly ofHost: number; readonly inAll: number }) {
    this.#what = what;
    this.#ofHost = most.ofHost;
    this.#inAll = most.inAll;
  }

  /** @returns the way to give it back, idempotent @throws FairleadError OVERLOADED */
  take(hostId: string): () => void {
    const taken = this.#taken.get(hostId) ?? 0;
    if (taken >= this.#ofHost) throw this.#excess(`${taken} for this host already; wait for the end of one`);
    if (this.#all >= this.#inAll) throw this.#excess(`${this.#all} already; wait for the end of one`);
    this.#taken.set(hostId, taken + 1);
    this.#all += 1;
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      this.#all -= 1;
      const left = (this.#taken.get(hostId) ?? 1) - 1;
      if (left === 0) this.#taken.delete(hostId);
      else this.#taken.set(hostId, left);
    };
  }

  #excess(how: string): FairleadError {
    return new FairleadError('OVERLOADED', `${this.#what} are in progress, ${how}`);
  }
}
