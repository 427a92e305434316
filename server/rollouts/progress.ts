/** Figures over the hosts of a rollout, and how one of them has ended. */
import type { RolloutHost } from '../store/rollouts.ts';

/** How a host has ended. */
export interface HostEnd {
  readonly state: 'done' | 'failed' | 'skipped';
  readonly code?: string | undefined;
  readonly detail?: string | undefined;
}

/** Numbers of hosts by what became of them. */
export interface Figures {
  hosts: number;
  /** To be asked. */
  pending: number;
  /** Those that should have been asked, and are offline. */
  waiting: number;
  /** Under way. */
  asked: number;
  done: number;
  failed: number;
  skipped: number;
  cancelled: number;
}

export function noFigures(): Figures {
  return { hosts: 0, pending: 0, waiting: 0, asked: 0, done: 0, failed: 0, skipped: 0, cancelled: 0 };
}

export function hasEnded({ state }: Pick<RolloutHost, 'state'>): boolean {
  return state !== 'pending' && state !== 'asked';
}
