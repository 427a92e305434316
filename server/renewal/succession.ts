/** The life of agents' certificates after the first one, put together: renewal, quarantine of clones, recovery. */
import type { Logger } from 'pino';
import type { ErrorCode, FairleadError } from '../../shared/errors.ts';
import type { PeerIdentity } from '../mesh/peer-identity.ts';
import { Quarantine } from './quarantine.ts';
import { Recovery } from './recovery.ts';
import { Renewal } from './renewal.ts';
import type { SuccessorDeps } from './successor.ts';

/** What ends and moves the sessions of hosts. */
export interface Sessions {
  disconnect(target: { hostId: string }, code: ErrorCode, reason: string): void;
  succeed(identity: PeerIdentity, superseded: readonly string[]): void;
}

export interface SuccessionDeps extends Omit<SuccessorDeps, 'pending'> {
  readonly log: Logger;
  readonly recoverWithinMs: number;
  /** Asked late: the listener is made with what this makes. */
  readonly sessions: () => Sessions;
  /** Why a serial that has nothing to do with a quarantine opens no session. */
  otherwise(serial: string): Promise<FairleadError>;
}

export interface SuccessionParts {
  /** What the API asks. */
  readonly services: { readonly quarantine: Quarantine; readonly recovery: Recovery };
  /** What the agents' listener asks. */
  readonly admission: Pick<Renewal, 'use' | 'renew' | 'isForged'> & Pick<Quarantine, 'refusal'>;
  /** Takes serials off the allow-list. Synchronous: from here on they open no session. */
  forget(serials: readonly string[]): void;
}

/** @throws FairleadError STORE_UNAVAILABLE */
export async function openSuccession(deps: SuccessionDeps): Promise<SuccessionParts> {
  const { store, audit, clock, log, authority, sessions, otherwise, recoverWithinMs } = deps;
  const pending = new Set(await store.certificates.pending());
  const common = { store, audit, clock, authority, pending };
  const quarantine = new Quarantine({
    ...{ store, audit, clock, log, otherwise, active: authority.active },
    disconnect: (...args) => sessions().disconnect(...args),
  });
  const refusal = quarantine.refusal.bind(quarantine);
  const renewal = new Renewal({ ...common, onActivated: (...args) => sessions().succeed(...args) });
  return {
    services: { quarantine, recovery: new Recovery({ ...common, refusal, recoverWithinMs }) },
    admission: {
      refusal,
      use: renewal.use.bind(renewal),
      renew: renewal.renew.bind(renewal),
      isForged: renewal.isForged.bind(renewal),
    },
    forget: (serials) => {
      for (const serial of serials) {
        authority.active.remove(serial);
        pending.delete(serial);
      }
    },
  };
}
