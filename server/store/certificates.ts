/** Table `certificates`: every agent certificate that was ever issued, and which of them are still good. */
import type { Selectable } from 'kysely';
import { FairleadError } from '../../shared/errors.ts';
import { certificateSuccession } from './certificate-succession.ts';
import { type HostScope, inScope } from './host-scope.ts';
import { newestFirst, type Page, type PageRequest } from './page.ts';
import { revokedCertificate } from './revocations.ts';
import type { CertificatesTable } from './schema.ts';
import type { Db, Note } from './tables.ts';

/**
 * `pending`: issued to take over from the active one, and not used yet. `superseded`: its successor was used.
 */
export type CertificateState = 'pending' | 'active' | 'revoked' | 'superseded';

/** A certificate as it is stored. Times are ms since 1970. */
export interface CertificateRow {
  /** Upper-case hex without leading zeros. */
  readonly serial: string;
  readonly hostId: string;
  readonly spkiPin: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly state: CertificateState;
  readonly issuedAt: number;
  readonly revokedAt: number | undefined;
  readonly reason: string | undefined;
  readonly pem: string;
}

export type NewCertificate = Omit<CertificateRow, 'state' | 'revokedAt' | 'reason'>;

export interface ActiveCertificate {
  readonly serial: string;
  readonly hostId: string;
  /** ms since 1970. */
  readonly notAfter: number;
}

export interface CertificateFilter {
  readonly hostId?: string | undefined;
  readonly state?: CertificateState | undefined;
  /** Those of hosts in it. */
  readonly scope?: HostScope | undefined;
}

export interface Certificates {
  insert(certificate: NewCertificate, state?: 'pending' | 'active'): Promise<void>;
  find(serial: string): Promise<CertificateRow | undefined>;
  /** Whether a certificate, good or not, was ever issued for this key. */
  isKeyKnown(spkiPin: string): Promise<boolean>;
  /** The certificate that was issued for this key, whatever its state. */
  findByKey(spkiPin: string): Promise<CertificateRow | undefined>;
  /** All certificates that may open a session, pending and expired ones included; of one host if one is given. */
  active(hostId?: string): Promise<ActiveCertificate[]>;
  /** The serials that are pending. */
  pending(): Promise<string[]>;
  /**
   * A pending certificate is used for the first time: it becomes active, and what its host had before is superseded.
   * @returns the serials that were superseded, or undefined if it is not pending.
   */
  activate(serial: string, at: number): Promise<string[] | undefined>;
  /** For an older database: a certificate that was superseded since. @returns whether it counted */
  supersede(serial: string, reason: string): Promise<boolean>;
  /** Revokes what the host was issued and never used. @returns the serials */
  revokePending(hostId: string, at: number, reason: string): Promise<string[]>;
  /** Revokes what is superseded, so that its return says nothing new. @returns the serials */
  revokeSuperseded(hostId: string, at: number, reason: string): Promise<string[]>;
  /** The host's active certificate; without one, its newest in whatever state. */
  latestOf(hostId: string): Promise<CertificateRow | undefined>;
  /** Newest first. */
  list(page: PageRequest, filter?: CertificateFilter): Promise<Page<CertificateRow>>;
  /** Revokes one certificate; one that is revoked already stays as it is. @throws FairleadError NOT_FOUND */
  revoke(serial: string, at: number, reason: string): Promise<CertificateRow>;
  /** Revokes all that the host has. @returns the serials that were not revoked before. */
  revokeOf(hostId: string, at: number, reason: string): Promise<string[]>;
  /** The same for many hosts, in one statement. */
  revokeOfAll(hostIds: readonly string[], at: number, reason: string): Promise<{ serial: string; hostId: string }[]>;
}

export function certificatesTable(db: Db, note: Note): Certificates {
  const find = async (serial: string): Promise<CertificateRow | undefined> => {
    const row = await db.selectFrom('certificates').selectAll().where('serial', '=', serial).executeTakeFirst();
    return row && toCertificate(row);
  };

  return {
    ...certificateSuccession(db, note),
    ...revocations(db, note, find),
    find,

    async insert(certificate, state = 'active') {
      await db
        .insertInto('certificates')
        .values({ ...fromNewCertificate(certificate), state })
        .execute();
    },

    async isKeyKnown(spkiPin) {
      const row = await db
        .selectFrom('certificates')
        .select('serial')
        .where('spki_pin', '=', spkiPin)
        .executeTakeFirst();
      return row !== undefined;
    },

    async findByKey(spkiPin) {
      const row = await db.selectFrom('certificates').selectAll().where('spki_pin', '=', spkiPin).executeTakeFirst();
      return row && toCertificate(row);
    },

    async active(hostId) {
      let query = db
        .selectFrom('certificates')
        .leftJoin('hosts', 'hosts.id', 'certificates.host_id')
        .select(['serial', 'host_id as hostId', 'not_after as notAfter'])
        .where('state', 'in', ['active', 'pending'])
        .where('hosts.quarantined_at', 'is', null);
      if (hostId !== undefined) query = query.where('host_id', '=', hostId);
      return await query.execute();
    },

    async latestOf(hostId) {
      const row = await db
        .selectFrom('certificates')
        .selectAll()
        .where('host_id', '=', hostId)
        .orderBy((e) => e.case().when('state', '=', 'active').then(0).else(1).end())
        .orderBy('issued_at', 'desc')
        .orderBy('serial', 'desc')
        .executeTakeFirst();
      return row && toCertificate(row);
    },

    async list(page, { hostId, state, scope } = {}) {
      let query = db.selectFrom('certificates').selectAll();
      if (hostId !== undefined) query = query.where('host_id', '=', hostId);
      if (state !== undefined) query = query.where('state', '=', state);
      if (scope !== undefined) query = query.where((e) => inScope(e.ref('certificates.host_id'), scope));
      return await newestFirst(query, page, toCertificate, 'issued_at', 'serial');
    },
  };
}

function revocations(
  db: Db,
  note: Note,
  find: Certificates['find'],
): Pick<Certificates, 'revoke' | 'revokeOf' | 'revokeOfAll'> {
  const revokeOfAll: Certificates['revokeOfAll'] = async (hostIds, at, reason) => {
    const rows = await db
      .updateTable('certificates')
      .set({ state: 'revoked', revoked_at: at, reason })
      .where('host_id', 'in', hostIds)
      .where('state', '!=', 'revoked')
      .returning(['serial', 'host_id', 'not_after'])
      .execute();
    await note(...rows.map((row) => revokedCertificate(row.serial, at, row.not_after, reason)));
    return rows.map((row) => ({ serial: row.serial, hostId: row.host_id }));
  };

  return {
    async revoke(serial, at, reason) {
      await db
        .updateTable('certificates')
        .set({ state: 'revoked', revoked_at: at, reason })
        .where('serial', '=', serial)
        .where('state', '!=', 'revoked')
        .execute();
      const certificate = await find(serial);
      if (certificate === undefined) throw new FairleadError('NOT_FOUND', `there is no certificate ${serial}`);
      const { revokedAt = at, notAfter } = certificate;
      await note(revokedCertificate(certificate.serial, revokedAt, notAfter, certificate.reason ?? reason));
      return certificate;
    },

    async revokeOf(hostId, at, reason) {
      return (await revokeOfAll([hostId], at, reason)).map((row) => row.serial);
    },

    revokeOfAll,
  };
}

function fromNewCertificate(certificate: NewCertificate): CertificatesTable {
  return {
    serial: certificate.serial,
    host_id: certificate.hostId,
    spki_pin: certificate.spkiPin,
    not_before: certificate.notBefore,
    not_after: certificate.notAfter,
    state: 'active',
    issued_at: certificate.issuedAt,
    revoked_at: null,
    reason: null,
    pem: certificate.pem,
  };
}

function toCertificate(row: Selectable<CertificatesTable>): CertificateRow {
  return {
    serial: row.serial,
    hostId: row.host_id,
    spkiPin: row.spki_pin,
    notBefore: row.not_before,
    notAfter: row.not_after,
    state: row.state as CertificateState,
    issuedAt: row.issued_at,
    revokedAt: row.revoked_at ?? undefined,
    reason: row.reason ?? undefined,
    pem: row.pem,
  };
}
