/** What hosts have answered and clients have not read yet: how much of it there may be, of one host and of all. */
import { FairleadError } from '../../shared/errors.ts';
import {
  LIST_ITEM_BYTES,
  MAX_ANSWER_BYTES,
  MAX_HELD_ANSWERS,
  MAX_HELD_BYTES,
  MAX_HELD_BYTES_OF_HOST,
  MAX_LIST_BYTES,
  MAX_LIST_ITEMS,
} from './limits.ts';

const RETRY_SECONDS = 5;

/** What one request holds. */
export interface HeldAnswer {
  /** Counts one more text of a host in. @returns OVERLOADED if there is no room for it; then it is not counted */
  take(hostId: string, bytes: number): FairleadError | undefined;
  /** Gives back what a host has answered so far. */
  drop(hostId: string): void;
  /** Gives back everything. Idempotent. */
  release(): void;
}

interface Share {
  bytes: number;
  items: number;
}

export class AnswerBudget {
  /** By host; only of hosts that something is held of. */
  readonly #ofHosts = new Map<string, number>();
  #bytes = 0;
  #answers = 0;

  /** Bytes that are held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws FairleadError OVERLOADED */
  begin(): HeldAnswer {
    if (this.#answers >= MAX_HELD_ANSWERS) throw busy();
    this.#answers++;
    const shares = new Map<string, Share>();
    let bytes = 0;
    let isReleased = false;
    const drop = (hostId: string) => {
      const share = shares.get(hostId);
      if (share === undefined) return;
      shares.delete(hostId);
      bytes -= share.bytes;
      this.#count(hostId, -share.bytes);
    };
    return {
      take: (hostId, textBytes) => {
        if (isReleased) return busy();
        const share = shares.get(hostId) ?? { bytes: 0, items: 0 };
        const more = textBytes + LIST_ITEM_BYTES;
        if (share.items + 1 > MAX_LIST_ITEMS || share.bytes + more > MAX_LIST_BYTES) return tooMuch();
        if (bytes + more > MAX_ANSWER_BYTES || !this.#hasRoom(hostId, more)) return busy();
        share.bytes += more;
        share.items++;
        shares.set(hostId, share);
        bytes += more;
        this.#count(hostId, more);
        return undefined;
      },
      drop,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        this.#answers--;
        for (const hostId of [...shares.keys()]) drop(hostId);
      },
    };
  }

  #hasRoom(hostId: string, more: number): boolean {
    const ofHost = this.#ofHosts.get(hostId) ?? 0;
    return this.#bytes + more <= MAX_HELD_BYTES && ofHost + more <= MAX_HELD_BYTES_OF_HOST;
  }

  #count(hostId: string, change: number): void {
    this.#bytes += change;
    const ofHost = (this.#ofHosts.get(hostId) ?? 0) + change;
    if (ofHost > 0) this.#ofHosts.set(hostId, ofHost);
    else this.#ofHosts.delete(hostId);
  }
}

function tooMuch(): FairleadError {
  return new FairleadError('OVERLOADED', 'the host answers with more than one answer may hold');
}

function busy(): FairleadError {
  return new FairleadError('OVERLOADED', 'too many large answers of hosts are in progress; try again soon', {
    retryAfterSeconds: RETRY_SECONDS,
  });
}
