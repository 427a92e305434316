/** Brings the store and the journal of revocations to the same state: what either knows as revoked is so in both. */
import type { Tables } from './all-tables.ts';
import type { Revocation } from './revocation-journal.ts';
import {
  AFTER_EXPIRY_MS,
  HOST_MS,
  revokedApiToken,
  revokedCertificate,
  revokedHawserToken,
  revokedHost,
  revokedOperatorCertificate,
  spentEnrollmentToken,
  supersededCertificate,
} from './revocations.ts';
import type { Store } from './store.ts';

/** Entries in one transaction. */
const SLICE = 500;
const UNKNOWN_REASON = 'revoked before';

/** Revokes again what an entry names. @returns whether the store thought that it was good */
type Replay = (tables: Tables, entry: Revocation, now: number) => Promise<boolean>;

const REPLAY: Readonly<Record<string, Replay>> = {
  async certificate({ certificates }, { id, at, reason }) {
    const row = await certificates.find(id);
    if (row === undefined || row.state === 'revoked') return false;
    await certificates.revoke(id, at, reason ?? UNKNOWN_REASON);
    return true;
  },
  superseded: async ({ certificates }, { id, reason }) => await certificates.supersede(id, reason ?? UNKNOWN_REASON),
  async host({ hosts, certificates }, { id, at, reason }) {
    const row = await hosts.find(id);
    if (row === undefined) return false;
    const serials = await certificates.revokeOf(id, at, reason ?? UNKNOWN_REASON);
    if (row.revokedAt === undefined) await hosts.markRevoked(id, at, reason ?? UNKNOWN_REASON);
    return row.revokedAt === undefined || serials.length > 0;
  },
  async 'api-token'({ apiTokens }, { id, at }, now) {
    // One that was replaced may go on for a while.
    if (at > now) return await apiTokens.endAt(id, at);
    const row = await apiTokens.find(id);
    if (row === undefined || (row.expiresAt ?? now + 1) <= now) return false;
    return await apiTokens.revoke(id, at);
  },
  async 'hawser-token'({ hawserTokens }, { id, at }, now) {
    if (at > now) return await hawserTokens.endAt(id, at);
    const row = await hawserTokens.find(id);
    if (row === undefined || (row.expiresAt ?? now + 1) <= now) return false;
    return await hawserTokens.revoke(id, at);
  },
  'operator-certificate': async ({ operatorCertificates }, { id, at }) => await operatorCertificates.revoke(id, at),
  user: async ({ users }, { id, at }) => await users.remove(id, at),
  webhook: async ({ webhooks }, { id, at }) => await webhooks.delete(id, at),
  'enrollment-token': async ({ enrollmentTokens }, { id, at }) => await enrollmentTokens.revoke(id, at),
  async 'enrollment-token-used'({ enrollmentTokens }, { id, at }) {
    // One that the store knows as used may still be asked for the certificate that it was used for.
    if ((await enrollmentTokens.find(id))?.use !== undefined) return false;
    return await enrollmentTokens.revoke(id, at);
  },
};

/** Revokes again what the journal knows of and the store does not. @returns what that was */
export async function replayRevocations(store: Store, now: number): Promise<Revocation[]> {
  const revived: Revocation[] = [];
  const entries = store.journal.replayed;
  for (let from = 0; from < entries.length; from += SLICE) {
    const found = await store.transaction(async (tables) => {
      const acted: Revocation[] = [];
      for (const entry of entries.slice(from, from + SLICE)) {
        if ((await REPLAY[entry.kind]?.(tables, entry, now)) === true) acted.push(entry);
      }
      return acted;
    });
    revived.push(...found);
  }
  return revived;
}

/**
 * Adds to the journal what the store alone knows of: it was made without one, or could not be written. Users and webhooks
 * that were removed are known to nobody else.
 */
export async function completeJournal(store: Store, now: number): Promise<void> {
  const known = [
    ...(await certificates(store, now)),
    ...(await hosts(store, now)),
    ...(await tokens(store, 'api_tokens', now)),
    ...(await tokens(store, 'hawser_tokens', now)),
    ...(await operatorCertificates(store, now)),
    ...(await enrollmentTokens(store, now)),
  ];
  await store.journal.append(known.filter((one) => !store.journal.has(one)));
}

async function certificates({ db }: Store, now: number): Promise<Revocation[]> {
  const rows = await db
    .selectFrom('certificates')
    .select(['serial', 'state', 'revoked_at', 'not_after', 'reason'])
    .where('state', 'in', ['revoked', 'superseded'])
    .where('not_after', '>', now - AFTER_EXPIRY_MS)
    .execute();
  return rows.map(({ serial, state, revoked_at, not_after, reason }) => {
    const entry = state === 'revoked' ? revokedCertificate : supersededCertificate;
    return entry(serial, revoked_at ?? now, not_after, reason ?? UNKNOWN_REASON);
  });
}

async function hosts({ db }: Store, now: number): Promise<Revocation[]> {
  const rows = await db
    .selectFrom('hosts')
    .select(['id', 'revoked_at', 'revoke_reason'])
    .where('revoked_at', '>', now - HOST_MS)
    .execute();
  return rows.map((row) => revokedHost(row.id, row.revoked_at ?? now, row.revoke_reason ?? UNKNOWN_REASON));
}

/** Those that were replaced end at their expiry, which an older database does not know. */
async function tokens({ db }: Store, table: 'api_tokens' | 'hawser_tokens', now: number): Promise<Revocation[]> {
  const revoked = table === 'api_tokens' ? revokedApiToken : revokedHawserToken;
  const rows = await db
    .selectFrom(table)
    .select(['id', 'revoked_at', 'expires_at', 'replaced_by'])
    .where((e) =>
      e.or([
        e('replaced_by', 'is not', null),
        e.and([e('revoked_at', 'is not', null), e.or([e('expires_at', 'is', null), e('expires_at', '>', now)])]),
      ]),
    )
    .execute();
  return rows.map(({ id, revoked_at, expires_at, replaced_by }) =>
    revoked(id, revoked_at ?? expires_at ?? now, replaced_by === null ? expires_at : null),
  );
}

async function operatorCertificates({ db }: Store, now: number): Promise<Revocation[]> {
  const rows = await db
    .selectFrom('operator_certificates')
    .select(['serial', 'revoked_at', 'not_after'])
    .where('revoked_at', 'is not', null)
    .where('not_after', '>', now)
    .execute();
  return rows.map((row) => revokedOperatorCertificate(row.serial, row.revoked_at ?? now, row.not_after));
}

async function enrollmentTokens({ db }: Store, now: number): Promise<Revocation[]> {
  const rows = await db
    .selectFrom('enrollment_tokens')
    .select(['id', 'revoked_at', 'used_at', 'expires_at'])
    .where('expires_at', '>', now)
    .where((e) => e.or([e('revoked_at', 'is not', null), e('used_at', 'is not', null)]))
    .execute();
  return rows.flatMap(({ id, revoked_at, used_at, expires_at }) => [
    ...(revoked_at === null ? [] : [spentEnrollmentToken('revoked', id, revoked_at, expires_at)]),
    ...(used_at === null ? [] : [spentEnrollmentToken('used', id, used_at, expires_at)]),
  ]);
}
