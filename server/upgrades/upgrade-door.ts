/** What sessions of agents need of upgrades, put together. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import type { UpgradeDoor } from '../mesh/agent-session.ts';
import { TrialSessions } from '../mesh/trial-sessions.ts';
import { ReleaseReads } from '../releases/release-reads.ts';
import type { Releases } from '../releases/releases.ts';
import type { HostUpgrades } from './host-upgrades.ts';

export interface UpgradeDoorDeps {
  readonly releases: Pick<Releases, 'compressedPath'>;
  readonly upgrades: Pick<HostUpgrades, 'greet' | 'told' | 'offeredTo' | 'isUnderWay'>;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info'>;
}

export function upgradeDoor({ releases, upgrades, clock, log }: UpgradeDoorDeps): UpgradeDoor {
  const reads = new ReleaseReads({
    clock,
    offered: (hostId, sha256) => upgrades.offeredTo(hostId, sha256),
    path: (signed) => releases.compressedPath(signed),
  });
  return {
    greet: (hostId, hello) => upgrades.greet(hostId, hello),
    told: (hostId, status) => upgrades.told(hostId, status),
    serveRead: (hostId, stream) => reads.serve(hostId, stream),
    trials: new TrialSessions({ clock, log, isUnderWay: (hostId) => upgrades.isUnderWay(hostId) }),
  };
}
