/** What hosts say of the roots they trust, kept once for each change of it. */
import type { Clock } from '../../shared/clock.ts';
import type { TrustAck, TrustUpdate } from '../../shared/messages/trust.ts';
import type { Authority } from './authority.ts';

export interface TrustAcksDeps {
  readonly authority: Pick<Authority, 'trust'>;
  readonly store: {
    acknowledge(hostId: string, ack: { version: number; roots: readonly string[]; at: number }): Promise<void>;
  };
  readonly clock: Clock;
}

export class TrustAcks {
  readonly #deps: TrustAcksDeps;
  /** What is stored already; as many entries as hosts have connected since the start. */
  readonly #stored = new Map<string, string>();

  constructor(deps: TrustAcksDeps) {
    this.#deps = deps;
  }

  /** What agents are told. */
  current(): TrustUpdate {
    const { version, roots, endorsements } = this.#deps.authority.trust();
    return { version, roots: roots.map(({ certPem }) => certPem), endorsements: [...endorsements] };
  }

  /** A host has stored what it was told. @throws FairleadError STORE_FULL, STORE_UNAVAILABLE */
  async acknowledged(hostId: string, { version, roots }: TrustAck): Promise<void> {
    const text = `${version} ${roots.join(' ')}`;
    // Hosts are told at every connection: a fleet that comes back should not write to the disk for it.
    if (this.#stored.get(hostId) === text) return;
    await this.#deps.store.acknowledge(hostId, { version, roots, at: this.#deps.clock.now() });
    this.#stored.set(hostId, text);
  }
}
