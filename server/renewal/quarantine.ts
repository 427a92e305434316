/**
 * Clones. A certificate is superseded once the host has used its successor, whose key the host alone has. If the old one
 * comes back all the same, somebody has a copy of the host's key: another machine, a restored snapshot, a thief. Which of
 * them is the host cannot be told from here, so none gets in until an administrator has looked.
 */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError } from '../../shared/errors.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { HostRow } from '../store/hosts.ts';
import type { Store } from '../store/store.ts';
import { quarantined } from './successor.ts';

export interface QuarantineDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Logger;
  /** The serials that may open a session. */
  readonly active: { add(serial: string, hostId: string): void; remove(serial: string): void };
  /** Ends what a host holds open. */
  disconnect(target: { hostId: string }, code: ErrorCode, reason: string): void;
  /** Why a serial is not on the list if it has nothing to do with a quarantine. */
  otherwise(serial: string): Promise<FairleadError>;
}

export class Quarantine {
  readonly #deps: QuarantineDeps;

  constructor(deps: QuarantineDeps) {
    this.#deps = deps;
  }

  /**
   * Why a certificate, whose key the other end has proven to hold, opens no session. If it is superseded, its host goes into
   * quarantine.
   */
  async refusal(serial: string, address: string): Promise<FairleadError> {
    const { store, otherwise } = this.#deps;
    const row = await store.certificates.find(serial);
    const host = row === undefined || row.state === 'revoked' ? undefined : await store.hosts.find(row.hostId);
    if (host === undefined || host.revokedAt !== undefined) return await otherwise(serial);
    if (host.quarantinedAt !== undefined) return quarantined(host.name, host.quarantineReason);
    return row?.state === 'superseded' ? await this.#confine(host, serial, address) : await otherwise(serial);
  }

  /**
   * Lets a host in again. What was superseded counts as revoked from here on, so that a copy that still runs does not
   * bring the quarantine back but stays out by itself.
   * @throws FairleadError HOST_NOT_FOUND, CONFLICT if it is not in quarantine
   */
  async release(ref: string, actor: Actor): Promise<void> {
    const { store, audit, clock, active, log } = this.#deps;
    const added: string[] = [];
    try {
      const host = await store.transaction(async (tables) => {
        const found = await tables.hosts.get(ref);
        const { id, name, quarantineReason: reason } = found;
        if (found.revokedAt !== undefined) throw new FairleadError('CONFLICT', `the host ${name} is revoked`);
        if (!(await tables.hosts.setQuarantine(id, undefined))) {
          throw new FairleadError('CONFLICT', `the host ${name} is not in quarantine`);
        }
        const why = 'superseded, and still in use elsewhere: enroll this machine by a new token';
        const revoked = await tables.certificates.revokeSuperseded(id, clock.now(), why);
        const entry = { actor: actor.name, address: actor.address, action: 'host.release', target: id };
        await audit.record({ ...entry, result: 'ok', detail: { name, reason, revoked } }, tables);
        // Before the commit, so that a revocation, which can only come after it, takes them off again.
        for (const { serial } of await tables.certificates.active(id)) {
          active.add(serial, id);
          added.push(serial);
        }
        return found;
      });
      log.info({ hostId: host.id, host: host.name }, 'a host was released from quarantine');
    } catch (error) {
      for (const serial of added) active.remove(serial);
      throw error;
    }
  }

  /** The row first: whatever happens next, a restart finds the host in quarantine. */
  async #confine(host: HostRow, serial: string, address: string): Promise<FairleadError> {
    const { store, audit, clock, log, active, disconnect } = this.#deps;
    const { id, name } = host;
    const from = address === '' ? '' : ` from ${address}`;
    const reason =
      `its superseded certificate ${serial} came back${from}: ` +
      'a copy of its identity is in use, or the machine was restored from a snapshot';
    const serials = await store.transaction(async (tables) => {
      const listed = (await tables.certificates.active(id)).map((row) => row.serial);
      if (!(await tables.hosts.setQuarantine(id, { at: clock.now(), reason }))) return undefined;
      await tables.recoveries.deleteOf(id);
      const entry = { actor: 'system', address, action: 'host.quarantine', target: id };
      await audit.record({ ...entry, result: 'ok', detail: { name, serial, reason } }, tables);
      return listed;
    });
    const refusal = quarantined(name, reason);
    // Somebody else was faster, and its certificates are off the list already.
    if (serials === undefined) return refusal;
    for (const listed of serials) active.remove(listed);
    disconnect({ hostId: id }, 'QUARANTINED', refusal.message);
    log.warn({ hostId: id, host: name, serial, address }, `the host is in quarantine: ${reason}`);
    return refusal;
  }
}
