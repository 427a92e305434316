/** Sessions of agents that only show that they can connect, before they take the place of the one that has their host. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { NativeLink } from './native-link.ts';

/** More than a greeting and a heartbeat ever take. */
const TRIAL_MS = 90_000;

export interface TrialSessionsDeps {
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info'>;
  /** Whether an upgrade of the host is under way. */
  isUnderWay(hostId: string): boolean;
}

export class TrialSessions {
  readonly #deps: TrialSessionsDeps;
  /** One of each host, the newest. */
  readonly #links = new Map<string, NativeLink>();

  constructor(deps: TrialSessionsDeps) {
    this.#deps = deps;
  }

  /** @throws FairleadError CONFLICT unless an upgrade of the host is under way */
  requireExpected(hostId: string): void {
    if (this.#deps.isUnderWay(hostId)) return;
    throw new FairleadError('CONFLICT', 'no upgrade of this host is under way: there is nothing to try');
  }

  /** Takes in a session that was welcomed, for a while; an older one of the host ends. */
  arrived(link: NativeLink): void {
    const { clock, log } = this.#deps;
    const { hostId } = link;
    const before = this.#links.get(hostId);
    this.#links.set(hostId, link);
    before?.close('REPLACED', 'a newer trial of this host took over');
    const timer = clock.setTimeout(() => link.close('TIMEOUT', `a trial has ${TRIAL_MS / 1000} s`), TRIAL_MS);
    const { agentVersion } = link.describe();
    log.info({ hostId, agentVersion }, 'an executable that is to replace an agent is tried');
    void link.closed.then(() => {
      timer.cancel();
      if (this.#links.get(hostId) === link) this.#links.delete(hostId);
    });
  }
}
