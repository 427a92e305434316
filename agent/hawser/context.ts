/** What both of Hawser's modes work with, and what they say of this agent. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { normalPath } from '../../shared/docker/path.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { HostPolicy } from '../../shared/messages/control.ts';
import { VERSION } from '../../shared/version.ts';
import type { DockerEngine } from '../docker/engine.ts';
import type { Stacks } from '../stacks/stacks.ts';
import { HAWSER_VERSION } from './limits.ts';

export interface HawserContext {
  readonly docker: DockerEngine;
  readonly stacks: Pick<Stacks, 'change' | 'look' | 'composeVersion'>;
  /** The host's own. It holds for a Dockhand server as for the mesh. */
  readonly policy: HostPolicy;
  /** Stays the same over restarts. */
  readonly agentId: string;
  readonly agentName: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The version that servers are told: that of Hawser which this agent is like, and its own. */
export const TOLD_VERSION = `${HAWSER_VERSION}+fairlead.${VERSION}`;

/** The version of Docker, as far as it is known. */
export function dockerVersion({ docker }: Pick<HawserContext, 'docker'>): string {
  const { reachable, version } = docker.state;
  return (reachable ? version : undefined) ?? 'unknown';
}

/**
 * @throws FairleadError VALIDATION for a path and query with more than one reading, which the policy could take for another
 * one than Docker
 */
export function requireNormal(target: string): void {
  if (normalPath(target) !== undefined && /^[!-~]+$/.test(target)) return;
  const what = 'no `.`, `..`, empty parts, escaped slashes or control characters';
  throw new FairleadError('VALIDATION', `the path must be one of Docker's API in its normal form: ${what}`);
}
