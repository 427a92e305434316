/** Which hosts of a rollout are in which stage, and in which order they are asked. */
import { createHash } from 'node:crypto';
import type { Stage } from './options.ts';

/** A host that a release can be rolled out to. */
export interface Candidate {
  readonly hostId: string;
  readonly tags: readonly string[];
  readonly isOnline: boolean;
}

/** A host's place in a rollout. */
export interface Placed {
  readonly hostId: string;
  /** From 0 up, over all stages. */
  readonly place: number;
  readonly stage: number;
}

/**
 * Spreads hosts over stages. The order is the same each time for one rollout and another one for the next, so that it is not
 * always the same hosts that go first; those that are there come before those that are away, since a stage says something
 * only of hosts that are.
 */
export function planStages(rolloutId: string, candidates: readonly Candidate[], stages: readonly Stage[]): Placed[] {
  let rest = candidates
    .map((candidate) => ({ ...candidate, key: orderKey(rolloutId, candidate) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  const placed: Placed[] = [];
  for (const [stage, what] of stages.entries()) {
    const taken = new Set(takenBy(what, rest, candidates.length));
    for (const { hostId } of rest) {
      if (taken.has(hostId)) placed.push({ hostId, place: placed.length, stage });
    }
    rest = rest.filter(({ hostId }) => !taken.has(hostId));
  }
  return placed;
}

function takenBy(stage: Stage, rest: readonly Candidate[], all: number): string[] {
  if ('tag' in stage) return rest.filter(({ tags }) => tags.includes(stage.tag)).map(({ hostId }) => hostId);
  const before = all - rest.length;
  const count = 'hosts' in stage ? stage.hosts : Math.ceil((stage.percent * all) / 100) - before;
  return rest.slice(0, Math.max(0, count)).map(({ hostId }) => hostId);
}

function orderKey(rolloutId: string, { hostId, isOnline }: Candidate): string {
  const hash = createHash('sha256').update(`${rolloutId}\0${hostId}`).digest('hex');
  return `${isOnline ? 0 : 1}${hash}`;
}
