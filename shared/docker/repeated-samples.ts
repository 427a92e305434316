/** Finds samples of Docker's stats that come again where their reading was broken off and goes on. */
import { NEVER } from './timestamps.ts';

/** The samples of one container, in their order. */
export class RepeatedSamples {
  #last: unknown;

  /** Whether a sample is the last one again, by the time at which Docker took it. */
  isRepeated({ read }: { readonly read?: unknown }): boolean {
    // Of a container that does not run Docker takes none, and tells that each second.
    const isRepeated = read !== undefined && read !== NEVER && read === this.#last;
    this.#last = read;
    return isRepeated;
  }
}
