/**
 * Hosts that are there already, and whose agent is to be one of Fairlead's from now on. Until that one has shown that it
 * works, the host keeps its kind, by which it is told from others here, and the agent that it has.
 */
import { FairleadError } from '../../shared/errors.ts';
import type { Tables } from '../store/all-tables.ts';
import type { HostRow } from '../store/hosts.ts';

/** What an agent is told whose certificate was made void by a newer enrollment for its host. */
export const ENROLLED_AGAIN = 'another agent was enrolled to take this host over';

/** Ends the sessions of certificates that were revoked, and lets them open no other. Synchronous. */
export type CutOff = (hostId: string, serials: readonly string[], reason: string) => void;

/** The host, if it can be taken over. */
export async function adoptable(tables: Pick<Tables, 'hosts'>, hostId: string): Promise<HostRow | undefined> {
  const host = await tables.hosts.find(hostId);
  const isSound = host?.kind !== 'native' && host?.revokedAt === undefined && host?.quarantinedAt === undefined;
  return isSound ? host : undefined;
}

/** The host, by id or name. @throws FairleadError HOST_NOT_FOUND, CONFLICT if it cannot be taken over */
export async function requireAdoptable(tables: Pick<Tables, 'hosts'>, ref: string): Promise<HostRow> {
  const host = await tables.hosts.get(ref);
  if (host.kind === 'native') throw new FairleadError('CONFLICT', `the host ${host.name} has fairlead-agent already`);
  if (host.revokedAt !== undefined)
    throw new FairleadError('CONFLICT', `the host ${host.name} is revoked: remove it and enroll it anew`);
  if (host.quarantinedAt === undefined) return host;
  throw new FairleadError('CONFLICT', `the host ${host.name} is in quarantine: release it first`);
}

/**
 * Takes back what an agent was given that has not taken its host over; also in quarantine, whose end would let it in again.
 * @returns the serials that were revoked
 */
export async function takeBack(tables: Tables, hostId: string, at: number, reason: string): Promise<string[]> {
  const host = await tables.hosts.find(hostId);
  if (host === undefined || host.kind === 'native') return [];
  return await tables.certificates.revokeOf(hostId, at, reason);
}
