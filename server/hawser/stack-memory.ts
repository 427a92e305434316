/** The changes of a host's stacks as far as this session knows them: an agent of Hawser keeps none in mind, and ends none. */
import { FairleadError } from '../../shared/errors.ts';
import type { StackChange } from '../../shared/messages/stack.ts';

/** Changes at once, of all stacks: each is a program or two on the host. */
const MAX_CHANGES = 4;
/** Stacks whose last change is remembered. */
const MAX_REMEMBERED = 256;

/** How a change has ended; undefined: nobody knows. */
export type StackEnd = Omit<StackChange, 'id' | 'kind'> | undefined;

export class StackMemory {
  /** By stack, in the order in which they began. */
  readonly #changes = new Map<string, StackChange>();

  /** The last change of a stack, unless its end is not known. */
  last(stack: string): StackChange | undefined {
    return this.#changes.get(stack);
  }

  /** Notes that a change begins. @returns what notes its end @throws FairleadError CONFLICT, OVERLOADED */
  begin(stack: string, change: Pick<StackChange, 'id' | 'kind'>): (end: StackEnd) => void {
    const going = this.#changes.get(stack);
    if (going?.state === 'running') {
      throw new FairleadError('CONFLICT', `${going.kind} of the stack ${stack} is in progress there; wait for its end`);
    }
    const running = [...this.#changes.values()].filter(({ state }) => state === 'running').length;
    if (running >= MAX_CHANGES) {
      throw new FairleadError('OVERLOADED', `${MAX_CHANGES} stacks are being changed there; wait for the end of one`);
    }
    this.#note(stack, { ...change, state: 'running' });
    return (end) => {
      if (end === undefined) this.#changes.delete(stack);
      else this.#note(stack, { ...change, ...end });
    };
  }

  #note(stack: string, change: StackChange): void {
    this.#changes.delete(stack);
    this.#changes.set(stack, change);
    for (const [oldest, { state }] of this.#changes) {
      if (this.#changes.size <= MAX_REMEMBERED) return;
      if (state !== 'running') this.#changes.delete(oldest);
    }
  }
}
