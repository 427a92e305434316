/** Revokes many hosts and certificates in one call: in slices, so that everybody else is served meanwhile. */
import { setImmediate } from 'node:timers/promises';
import { parseSerial } from '../../certs/serial.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { Actor, AuditEntry } from '../audit/audit.ts';
import type { Tables } from '../store/all-tables.ts';
import type { HostsDeps } from './hosts.ts';

/**
 * What one transaction revokes, and rows of the audit log that are written together. More of it would make the others wait
 * too long, less would wait for the disk too often.
 */
const ROWS_AT_ONCE = 100;
/** Hosts whose sockets are closed in one turn of the loop. */
const HOSTS_AT_ONCE = 10;

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

interface Why {
  readonly reason: string;
  readonly actor: Actor;
  /** ms since 1970. */
  readonly now: number;
}

/**
 * All rows first, then memory, then sockets, then audit. What was revoked before counts as done.
 * @throws FairleadError if the store fails; what was revoked before that is cut off, and the error says how much it was
 */
export async function revokeMany(deps: HostsDeps, request: BulkRevocation, actor: Actor): Promise<BulkResult> {
  const why = { reason: request.reason, actor, now: deps.clock.now() };
  const targets = await targetsOf(deps, request);
  const result: BulkResult = { hosts: [], certificates: [], notFound: { hosts: [], serials: [] } };
  const failure = await revokeRows(deps, targets, why, result);
  deps.forget([...result.hosts.flatMap((host) => host.serials), ...result.certificates.map(({ serial }) => serial)]);
  const held = [...result.hosts.map(({ id }) => ({ hostId: id })), ...result.certificates];
  await inTurns(held, async (target) => deps.disconnect(target, 'CERT_REVOKED', why.reason));
  const entries = entriesOf(result, why);
  // Together: rows that come one after the other each wait for the next write.
  for (let from = 0; from < entries.length; from += ROWS_AT_ONCE) {
    await Promise.all(entries.slice(from, from + ROWS_AT_ONCE).map((entry) => deps.audit.recordOrLog(entry)));
  }
  if (failure === undefined) return result;
  const done = `${result.hosts.length + result.certificates.length} of ${targets.length} were revoked before that`;
  throw new FairleadError(failure.code, `${failure.message}; ${done}: ask again for the rest`, { cause: failure });
}

/** @returns what the store failed with, if it did; `into` has what was revoked */
async function revokeRows(
  { store }: HostsDeps,
  targets: readonly Target[],
  why: Why,
  into: BulkResult,
): Promise<FairleadError | undefined> {
  for (let from = 0; from < targets.length; from += ROWS_AT_ONCE) {
    const slice = targets.slice(from, from + ROWS_AT_ONCE);
    try {
      const { hosts, certificates, notFound } = await store.transaction((tables) => revokeSlice(tables, slice, why));
      into.hosts.push(...hosts);
      into.certificates.push(...certificates);
      into.notFound.hosts.push(...notFound.hosts);
      into.notFound.serials.push(...notFound.serials);
    } catch (error) {
      if (isFairleadError(error)) return error;
      throw error;
    }
    await setImmediate();
  }
  return undefined;
}

/** Does something for each of `all`, and lets others have their turn in between. */
async function inTurns<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  for (const [index, one] of all.entries()) {
    await work(one);
    if (index % HOSTS_AT_ONCE === HOSTS_AT_ONCE - 1) await setImmediate();
  }
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

async function revokeSlice(tables: Tables, targets: readonly Target[], why: Why): Promise<BulkResult> {
  const result: BulkResult = { hosts: [], certificates: [], notFound: { hosts: [], serials: [] } };
  const hosts = new Map<string, BulkResult['hosts'][number]>();
  for (const target of targets) {
    if ('serial' in target) {
      await revokeSerial(tables, target.serial, why, result);
      continue;
    }
    const host = await tables.hosts.find(target.host);
    if (host === undefined) result.notFound.hosts.push(target.host);
    else hosts.set(host.id, { id: host.id, name: host.name, serials: [] });
  }
  if (hosts.size === 0) return result;
  const ids = [...hosts.keys()];
  for (const { hostId, serial } of await tables.certificates.revokeOfAll(ids, why.now, why.reason)) {
    hosts.get(hostId)?.serials.push(serial);
  }
  await tables.hosts.markAllRevoked(ids, why.now, why.reason);
  await tables.hawserTokens.revokeOf(ids, why.now);
  result.hosts.push(...hosts.values());
  return result;
}

async function revokeSerial(tables: Tables, given: string, why: Why, result: BulkResult): Promise<void> {
  const serial = parseSerial(given.replaceAll(':', ''));
  const found = serial === undefined ? undefined : await tables.certificates.find(serial);
  if (found === undefined) return void result.notFound.serials.push(given);
  await tables.certificates.revoke(found.serial, why.now, why.reason);
  const host = await tables.hosts.find(found.hostId);
  const left = await tables.certificates.list({ limit: 1 }, { hostId: found.hostId, state: 'active' });
  result.certificates.push({ serial: found.serial, hostId: found.hostId });
  if (left.items.length > 0 || host === undefined) return;
  // A host that is about to be taken over goes on with the agent that it has.
  if (host.kind === 'native') await tables.hosts.markRevoked(host.id, why.now, why.reason);
  // What it was issued and has not used yet goes with it.
  const rest = await tables.certificates.revokeOf(host.id, why.now, why.reason);
  result.certificates.push(...rest.map((one) => ({ serial: one, hostId: host.id })));
}

function entriesOf({ hosts, certificates }: BulkResult, { reason, actor }: Why): AuditEntry[] {
  const common = { actor: actor.name, address: actor.address, result: 'ok' as const };
  return [
    ...hosts.map(({ id, name, serials }) => ({
      ...common,
      ...{ action: 'host.revoke', target: id, detail: { name, reason, serials } },
    })),
    ...certificates.map(({ serial, hostId }) => ({
      ...common,
      ...{ action: 'certificate.revoke', target: hostId, detail: { reason, serials: [serial] } },
    })),
  ];
}
