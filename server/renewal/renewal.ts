/** The certificates of connected agents: a new one is issued over the session, and counts from its first use on. */
import { readCsr } from '../../certs/csr.ts';
import { FairleadError } from '../../shared/errors.ts';
import { Budget } from '../../shared/mux/budget.ts';
import type { PeerIdentity } from '../mesh/peer-identity.ts';
import type { Tables } from '../store/all-tables.ts';
import { issueSuccessor, requireGoodHost, type Successor, type SuccessorDeps } from './successor.ts';

/** Renewals of one host: enough for the shortest lives with a repeat now and then. */
const RENEWALS_PER_SECOND = 0.5;
const RENEWAL_BURST = 10;
/** Renewals under way at once, of all hosts: each takes the thread pool some milliseconds. */
const MAX_UNDER_WAY = 64;

export interface RenewalDeps extends SuccessorDeps {
  /** A certificate was used for the first time; sessions of the superseded ones are to move to it, or to end. */
  onActivated(identity: PeerIdentity, superseded: readonly string[]): void;
}

export class Renewal {
  readonly #deps: RenewalDeps;
  /** How often each host may ask; as many entries as there are hosts that did. */
  readonly #budgets = new Map<string, Budget>();
  #underWay = 0;

  constructor(deps: RenewalDeps) {
    this.#deps = deps;
  }

  /**
   * A certificate for the key in `csr`, to the host whose session it is.
   * @param address where the session comes from
   * @throws FairleadError CSR_INVALID, RATE_LIMITED, OVERLOADED, CONFLICT (ask again), CERT_REVOKED, QUARANTINED
   */
  async renew(identity: PeerIdentity, csr: string, address: string): Promise<Successor> {
    if (!this.#mayAsk(identity.hostId)) {
      throw new FairleadError('RATE_LIMITED', 'this host renews its certificate too often');
    }
    if (this.#underWay >= MAX_UNDER_WAY)
      throw new FairleadError('OVERLOADED', 'too many certificates are being issued');
    this.#underWay += 1;
    try {
      const { hostId } = identity;
      const check = (tables: Tables) => this.#check(tables, identity, address);
      return await issueSuccessor(this.#deps, { hostId, csr: await readCsr(csr), check });
    } finally {
      this.#underWay -= 1;
    }
  }

  /**
   * Whether a certificate is not the one that was issued under its serial. Only somebody with a CA's key can make one, and
   * such a key is to open nothing by itself.
   */
  async isForged({ hostId, serial, spkiPin }: PeerIdentity): Promise<boolean> {
    const row = await this.#deps.store.certificates.find(serial);
    return row !== undefined && (row.hostId !== hostId || row.spkiPin !== spkiPin);
  }

  /**
   * An agent has proven, by a handshake, that it holds the key of `identity`. If that is a pending one it becomes active,
   * and what the host had before counts no longer.
   * @throws FairleadError CERT_REVOKED, QUARANTINED if the host may have no certificate
   */
  async use(identity: PeerIdentity, address: string): Promise<void> {
    const { store, audit, authority, clock, pending } = this.#deps;
    const { hostId, serial } = identity;
    if (!pending.has(serial)) return;
    const superseded = await store.transaction(async (tables) => {
      const name = await requireGoodHost(tables, hostId);
      const serials = await tables.certificates.activate(serial, clock.now());
      if (serials === undefined) return undefined;
      const entry = { actor: `host:${name}`, address, action: 'certificate.activate', target: hostId };
      await audit.record({ ...entry, result: 'ok', detail: { name, serial, superseded: serials } }, tables);
      return serials;
    });
    pending.delete(serial);
    if (superseded === undefined) return;
    for (const old of superseded) authority.active.remove(old);
    this.#deps.onActivated(identity, superseded);
  }

  #mayAsk(hostId: string): boolean {
    const now = this.#deps.clock.monotonic();
    const budget = this.#budgets.get(hostId) ?? new Budget(RENEWALS_PER_SECOND, RENEWAL_BURST, now);
    this.#budgets.set(hostId, budget);
    return budget.take(now);
  }

  async #check(tables: Tables, { hostId, serial }: PeerIdentity, address: string) {
    const name = await requireGoodHost(tables, hostId);
    // Superseded in this very moment: its session moves or ends, and whoever asks again does so with the new one.
    if ((await tables.certificates.find(serial))?.state !== 'active') {
      throw new FairleadError('CONFLICT', 'the certificate of this session was just superseded');
    }
    const entry = { actor: `host:${name}`, address, action: 'certificate.renew', target: hostId };
    return { ...entry, result: 'ok' as const, detail: { name, before: serial } };
  }
}
