/** Revokes many hosts and certificates in one call: in slices, so that everybody else is served meanwhile. */
import { setImmediate } from 'node:timers/promises';
import { parseSerial } from '../../certs/serial.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { Actor, AuditEntry } from '../audit/audit.ts';
import type { Tables } from '../store/store.ts';
import type { HostsDeps } from './hosts.ts';

/** What one transaction revokes. More of it would make the others wait too long, less would wait for the disk too often. */
const SLICE = 25;

export interface BulkRevocation {
  /** Ids or names. */
  readonly hosts?: readonly string[] | undefined;
  /** Hex, colons allowed. */
  readonly serials?: readonly string[] | undefined;
  /** All hosts that have this tag. */
  readonly tag?: string | undefined;
  readonly reason: string;
}

export interface BulkResult {
  readonly hosts: { id: string; name: string; serials: string[] }[];
  readonly certificates: { serial: string; hostId: string }[];
  /** What there is none of, as it was asked for. */
  readonly notFound: { readonly hosts: string[]; readonly serials: string[] };
}

/** One thing to revoke, as it was asked for. */
type Target = { readonly host: string } | { readonly serial: string };

interface Slice {
  readonly result: BulkResult;
  readonly entries: AuditEntry[];
}

/**
 * Row first, then memory, then sockets, then audit, for each slice. What was revoked before counts as done.
 * @throws FairleadError if the store fails; the slices before that stand, and the error says how many they were
 */
export async function revokeMany(deps: HostsDeps, request: BulkRevocation, actor: Actor): Promise<BulkResult> {
  const targets = await targetsOf(deps, request);
  const result: BulkResult = { hosts: [], certificates: [], notFound: { hosts: [], serials: [] } };
  for (let from = 0; from < targets.length; from += SLICE) {
    try {
      await revokeSlice(deps, targets.slice(from, from + SLICE), { ...request, actor }, result);
    } catch (error) {
      if (!isFairleadError(error) || from === 0) throw error;
      const done = `${from} of ${targets.length} were revoked before that: ask again for the rest`;
      throw new FairleadError(error.code, `${error.message}; ${done}`, { cause: error });
    }
    await setImmediate();
  }
  return result;
}

async function targetsOf({ store }: HostsDeps, request: BulkRevocation): Promise<Target[]> {
  const { tag, hosts = [], serials = [] } = request;
  const tagged: string[] = [];
  let cursor: string | undefined;
  while (tag !== undefined) {
    const page = await store.hosts.list({ limit: 500, ...(cursor === undefined ? {} : { cursor }) });
    tagged.push(...page.items.filter((host) => host.tags.includes(tag)).map((host) => host.id));
    cursor = page.nextCursor ?? undefined;
    if (cursor === undefined) break;
    await setImmediate();
  }
  return [
    ...[...new Set([...hosts, ...tagged])].map((host) => ({ host })),
    ...[...new Set(serials)].map((serial) => ({ serial })),
  ];
}

async function revokeSlice(
  deps: HostsDeps,
  targets: readonly Target[],
  { reason, actor }: { reason: string; actor: Actor },
  into: BulkResult,
): Promise<void> {
  const { store, clock, audit } = deps;
  const { result, entries } = await store.transaction(async (tables) => {
    const slice: Slice = {
      result: { hosts: [], certificates: [], notFound: { hosts: [], serials: [] } },
      entries: [],
    };
    for (const target of targets) {
      if ('host' in target) await revokeHost(tables, target.host, { reason, actor, now: clock.now() }, slice);
      else await revokeSerial(tables, target.serial, { reason, actor, now: clock.now() }, slice);
    }
    return slice;
  });
  deps.forget([...result.hosts.flatMap((host) => host.serials), ...result.certificates.map(({ serial }) => serial)]);
  for (const { id } of result.hosts) deps.disconnect({ hostId: id }, 'CERT_REVOKED', reason);
  for (const { hostId, serial } of result.certificates) deps.disconnect({ hostId, serial }, 'CERT_REVOKED', reason);
  into.hosts.push(...result.hosts);
  into.certificates.push(...result.certificates);
  into.notFound.hosts.push(...result.notFound.hosts);
  into.notFound.serials.push(...result.notFound.serials);
  for (const entry of entries) await audit.recordOrLog(entry);
}

interface Why {
  readonly reason: string;
  readonly actor: Actor;
  /** ms since 1970. */
  readonly now: number;
}

async function revokeHost(tables: Tables, ref: string, why: Why, { result, entries }: Slice): Promise<void> {
  const host = await tables.hosts.find(ref);
  if (host === undefined) return void result.notFound.hosts.push(ref);
  const { id, name } = host;
  const serials = await tables.certificates.revokeOf(id, why.now, why.reason);
  await tables.hosts.markRevoked(id, why.now, why.reason);
  result.hosts.push({ id, name, serials });
  entries.push(entry('host.revoke', { id, name }, why, serials));
}

async function revokeSerial(tables: Tables, given: string, why: Why, { result, entries }: Slice): Promise<void> {
  const serial = parseSerial(given.replaceAll(':', ''));
  const found = serial === undefined ? undefined : await tables.certificates.find(serial);
  if (found === undefined) return void result.notFound.serials.push(given);
  await tables.certificates.revoke(found.serial, why.now, why.reason);
  const host = await tables.hosts.find(found.hostId);
  const left = await tables.certificates.list({ limit: 1 }, { hostId: found.hostId, state: 'active' });
  if (left.items.length === 0 && host !== undefined) await tables.hosts.markRevoked(host.id, why.now, why.reason);
  result.certificates.push({ serial: found.serial, hostId: found.hostId });
  entries.push(entry('certificate.revoke', host ?? { id: found.hostId, name: found.hostId }, why, [found.serial]));
}

function entry(
  action: string,
  host: { readonly id: string; readonly name: string },
  { reason, actor }: Why,
  serials: readonly string[],
): AuditEntry {
  const detail = { name: host.name, reason, serials };
  return { actor: actor.name, address: actor.address, action, target: host.id, result: 'ok', detail };
}
