/** Rollouts without a server around them: hosts and a time that a test sets by hand. */
import { RolloutMachine } from '../../server/rollouts/machine.ts';
import { DEFAULT_OPTIONS, type RolloutOptions } from '../../server/rollouts/options.ts';
import { planStages } from '../../server/rollouts/plan.ts';
import type { RolloutHost } from '../../server/store/rollouts.ts';

export const START = 1_000_000;

export interface MachineSetup {
  readonly hosts: number;
  readonly options?: Partial<RolloutOptions>;
  /** Numbers of hosts that are offline, for long. */
  readonly offline?: readonly number[];
}

export function hostName(index: number): string {
  return `host-${index}`;
}

/** A rollout of the id `r`, planned and not begun. */
export function machineOf({ hosts, options, offline = [] }: MachineSetup): RolloutMachine {
  const all: RolloutOptions = { ...DEFAULT_OPTIONS, pauseSeconds: 0, ...options };
  const candidates = Array.from({ length: hosts }, (_, index) => ({
    hostId: hostName(index),
    tags: [`t${index % 3}`],
    isOnline: !offline.includes(index),
  }));
  const placed = planStages('r', candidates, all.stages).map(
    (host): RolloutHost => ({
      ...{ ...host, state: 'pending', askedAt: undefined, endedAt: undefined, code: undefined, detail: undefined },
    }),
  );
  return new RolloutMachine({
    options: all,
    progress: {
      ...{ state: 'planned', stage: placed[0]?.stage ?? 0, stageAt: START, reason: undefined },
      ...{ forgiven: 0, endedAt: undefined },
    },
    hosts: placed,
    away: new Map(offline.map((index) => [hostName(index), 0])),
    now: START,
    toWall: (at) => at,
  });
}

/** Ends all that are under way, and gives their number. */
export function endAll(machine: RolloutMachine, state: 'done' | 'failed' | 'skipped', now: number): number {
  const asked = machine.hosts.filter((host) => host.state === 'asked');
  for (const { hostId } of asked) machine.ended(hostId, { state, code: 'RELEASE_INVALID', detail: 'why' }, now);
  machine.look(now);
  return asked.length;
}
