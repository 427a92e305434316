/** The rotation of the CA's root, in steps that each can be taken back until the old root is retired. */
import type { Logger } from 'pino';
import { ENDORSEMENT_DAYS, RETURN_DAYS } from '../../certs/endorsement.ts';
import { readCertificate } from '../../certs/pem.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Authority } from './authority.ts';
import type { CaEntry, CaRecord, Phase } from './ca-record.ts';
import { newRoot } from './ca-state.ts';
import { type HostName, HostReadiness, type Readiness } from './host-readiness.ts';
import { abort, activate, publish, requirePhase, retire } from './phases.ts';
import type { HostTrustStore, OperatorCertificate, OperatorCertificateStore } from './ports.ts';

export type RotationAction = 'publish' | 'activate' | 'retire' | 'abort';

/** Who asks for a change. */
export interface Actor {
  readonly name: string;
  readonly address?: string | undefined;
}

export interface RotationDeps {
  readonly authority: Authority;
  readonly hosts: HostTrustStore;
  readonly operatorCertificates: OperatorCertificateStore;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info'>;
  /** The size of a new root's key, for tests; 4096 otherwise. */
  readonly caKeyBits?: number | undefined;
}

export interface RotationStatus extends Readiness {
  readonly phase: Phase;
  /** Good but for their root, which is not the current one: they end with it, or have done so. */
  readonly otherOperatorCertificates: readonly OperatorCertificate[];
}

/** Hosts that an error names one by one. */
const MAX_NAMED_HOSTS = 20;

export class Rotation {
  readonly #deps: RotationDeps;
  readonly #readiness: HostReadiness;

  constructor(deps: RotationDeps) {
    this.#deps = deps;
    this.#readiness = new HostReadiness(deps.hosts);
  }

  /** How far the rotation has come; of the next root while one is published, else of the current one. */
  async status(): Promise<RotationStatus> {
    const { authority, operatorCertificates, clock } = this.#deps;
    const { record, current, next } = authority.state;
    const trust = authority.trust();
    const { currentIssuers } = trust;
    const to = next ?? current;
    const issuers = next === undefined ? currentIssuers : trust.issuers.difference(currentIssuers);
    return {
      phase: record.phase,
      ...(await this.#readiness.look(to.fingerprint, issuers, trust)),
      otherOperatorCertificates: await operatorCertificates.goodExceptOf(currentIssuers, clock.now()),
    };
  }

  /**
   * Takes one step.
   * @param force takes it although it locks hosts out
   * @throws FairleadError CONFLICT if it is not the time for it, or that names the hosts that it would lock out
   */
  async take(action: RotationAction, { force }: { force: boolean }, actor: Actor): Promise<void> {
    await this.#deps.authority.exclusively(async () => {
      if (action === 'publish') await this.#publish(actor);
      else if (action === 'activate') await this.#activate(actor);
      else if (action === 'retire') await this.#retire(force, actor);
      else await this.#abort(force, actor);
    });
  }

  /**
   * Publishes a root that was made elsewhere. To be called inside of `Authority.exclusively`.
   * @param endorsement that of the next root by the current one; absent: it is made here
   * @throws FairleadError CONFLICT
   */
  async publishEntry(next: CaEntry, endorsement: string | undefined, action: string, actor: Actor): Promise<void> {
    const { authority, clock } = this.#deps;
    const { record, current } = authority.state;
    requirePhase(record, 'stable');
    const root = readCertificate(next.root);
    const word = endorsement ?? (await current.endorse({ root, days: ENDORSEMENT_DAYS, clock }));
    await this.#change(publish(record, next, word), action, actor);
  }

  async #publish(actor: Actor): Promise<void> {
    const { authority } = this.#deps;
    const { record, current } = authority.state;
    requirePhase(record, 'stable');
    if (current.isIntermediate) {
      throw new FairleadError(
        'CONFLICT',
        'the root is offline and has to endorse its successor: make one with "fairlead ca init", let it sign a ' +
          '"fairlead ca request", let the old root "fairlead ca endorse" what comes out, and import that',
      );
    }
    const next = await newRoot(record.installationId, authority.seal, this.#deps);
    await this.publishEntry(next, undefined, 'ca.publish', actor);
  }

  async #activate(actor: Actor): Promise<void> {
    await this.#change(activate(this.#deps.authority.state.record), 'ca.activate', actor);
  }

  async #retire(force: boolean, actor: Actor): Promise<void> {
    const { authority } = this.#deps;
    const record = retire(authority.state.record);
    const { unacknowledged, otherCertificates, otherOperatorCertificates } = await this.status();
    const out = union(unacknowledged, otherCertificates);
    const why = 'do not trust the new root yet, or still have a certificate of the old one';
    refuseUnless(force, out, `${why}; wait until they have connected and renewed it`);
    const endedOperatorCertificates = otherOperatorCertificates.length;
    const locked = { forced: force && out.length > 0, lockedOut: out.length };
    await this.#change(record, 'ca.retire', actor, { ...locked, endedOperatorCertificates });
  }

  async #abort(force: boolean, actor: Actor): Promise<void> {
    const { authority, clock } = this.#deps;
    const { record, current, previous } = authority.state;
    // Those who know the new root alone are led back by its own word, if its key is here.
    const root = previous && readCertificate(previous.rootPem);
    const canReturn = root !== undefined && !current.isIntermediate;
    const back = canReturn ? await current.endorse({ root, days: RETURN_DAYS, clock }) : undefined;
    const after = abort(record, back);
    const out = canReturn ? [] : await this.#lockedOutByAbort();
    refuseUnless(force, out, 'know the new root alone, or have a certificate of it');
    await this.#change(after, 'ca.abort', actor, { forced: force && out.length > 0, lockedOut: out.length });
  }

  async #lockedOutByAbort(): Promise<HostName[]> {
    const { authority } = this.#deps;
    const { current, previous } = authority.state;
    const { currentIssuers, issuers } = authority.trust();
    if (previous === undefined) {
      const distrusting = await this.#readiness.notTrusting(current.fingerprint, currentIssuers);
      const others = await this.#readiness.withoutCertificateOf(currentIssuers);
      return union(distrusting, others);
    }
    return await this.#readiness.notTrusting(previous.fingerprint, issuers.difference(currentIssuers));
  }

  async #change(record: CaRecord, action: string, actor: Actor, detail: Record<string, unknown> = {}): Promise<void> {
    const { authority, log } = this.#deps;
    const { name, address } = actor;
    const facts = { phase: record.phase, trustVersion: record.trustVersion, ...detail };
    await authority.change(record, { actor: name, address, action, detail: facts });
    log.info({ ...facts, fingerprint: authority.caFingerprint }, 'the certificate authority has changed');
  }
}

/** The hosts in either list, in the order of their names. */
function union(...lists: readonly (readonly HostName[])[]): HostName[] {
  const hosts = new Map(lists.flat().map((host) => [host.id, host]));
  return [...hosts.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** @throws FairleadError CONFLICT that names the hosts */
function refuseUnless(force: boolean, hosts: readonly HostName[], why: string): void {
  if (force || hosts.length === 0) return;
  const named = hosts.slice(0, MAX_NAMED_HOSTS).map(({ name }) => name);
  const rest = hosts.length > named.length ? ` and ${hosts.length - named.length} more` : '';
  throw new FairleadError('CONFLICT', `these hosts ${why}, or force it: ${named.join(', ')}${rest}`);
}
