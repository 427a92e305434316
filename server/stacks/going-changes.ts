/** Which stacks are being changed, and by whom: each by one at a time. */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { StackKey } from '../store/stack-revisions.ts';

/** Stacks that nobody else may change. */
export interface HeldStacks {
  has(key: StackKey): boolean;
  /** Idempotent. */
  release(): void;
}

interface Going {
  /** The kind of the change, or what holds it. */
  readonly what: string;
  readonly by: string;
  /** ms since 1970. */
  readonly since: number;
}

export class GoingChanges {
  readonly #clock: Clock;
  /** As many entries as changes go on. */
  readonly #going = new Map<string, Going>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(key: StackKey): boolean {
    return this.#going.has(nameOf(key));
  }

  /** Keeps others from changing these stacks. @throws FairleadError CONFLICT that says what goes on with one of them */
  hold(keys: readonly StackKey[], what: string, by: string): HeldStacks {
    const releases: (() => void)[] = [];
    const release = () => {
      for (const each of releases) each();
    };
    try {
      for (const key of keys) releases.push(this.take(key, what, { by }));
    } catch (error) {
      release();
      throw error;
    }
    const names = new Set(keys.map(nameOf));
    return { has: (key) => names.has(nameOf(key)), release };
  }

  /** @returns what lets others change the stack again, idempotent @throws FairleadError CONFLICT that says what goes on */
  take(
    key: StackKey,
    what: string,
    { by, held }: { readonly by: string; readonly held?: HeldStacks | undefined },
  ): () => void {
    if (held?.has(key)) return () => undefined;
    const id = nameOf(key);
    const going = this.#going.get(id);
    if (going !== undefined) {
      const since = new Date(going.since).toISOString();
      throw new FairleadError(
        'CONFLICT',
        `the stack ${key.stack} is being changed: ${going.what} by ${going.by} since ${since}; wait for its end`,
      );
    }
    const mine = { what, by, since: this.#clock.now() };
    this.#going.set(id, mine);
    return () => {
      if (this.#going.get(id) === mine) this.#going.delete(id);
    };
  }
}

function nameOf({ hostId, stack }: StackKey): string {
  return `${hostId}/${stack}`;
}
