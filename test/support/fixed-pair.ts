/** An agent whose pair of key and certificate stays as it is, for tests that have nothing to do with its life. */
import type { Identity } from '../../agent/identity/state-dir.ts';
import type { StayConnectedOptions } from '../../agent/link/stay-connected.ts';
import { FairleadError } from '../../shared/errors.ts';

export function fixedPair(identity: Identity): Pick<StayConnectedOptions, 'credentials' | 'renewer' | 'recover'> {
  const nothing = async () => undefined;
  return {
    credentials: { current: () => identity, isUnproven: false, discard: nothing },
    renewer: { controls: new Map(), attach: nothing, detach: nothing },
    recover: async () => {
      throw new FairleadError('NOT_FOUND', 'this server knows no recovery');
    },
  };
}
