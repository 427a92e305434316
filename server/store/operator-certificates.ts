/** Table `operator_certificates`: every certificate that was issued for the API; revoked ones stay. */
import type { Selectable } from 'kysely';
import type { Role } from '../../shared/messages/kind.ts';
import { newestFirst, type Page, type PageRequest } from './page.ts';
import { revokedOperatorCertificate } from './revocations.ts';
import type { OperatorCertificatesTable } from './schema.ts';
import { type Db, type Note, readStrings } from './tables.ts';

/** A certificate as it is stored. Times are ms since 1970. */
export interface OperatorCertificateRow {
  /** Upper-case hex without leading zeros. */
  readonly serial: string;
  readonly operatorId: string;
  readonly name: string;
  readonly role: Role;
  readonly spkiPin: string;
  /** The key identifier of the CA that issued it, in hex. */
  readonly issuerKey: string;
  readonly hosts: readonly string[];
  readonly tags: readonly string[];
  readonly notBefore: number;
  readonly notAfter: number;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly lastUsedAt: number | undefined;
  readonly revokedAt: number | undefined;
}

export type NewOperatorCertificate = Omit<OperatorCertificateRow, 'lastUsedAt' | 'revokedAt'>;

export interface OperatorCertificateRows {
  insert(certificate: NewOperatorCertificate): Promise<void>;
  find(serial: string): Promise<OperatorCertificateRow | undefined>;
  /** Whether a certificate, good or not, was ever issued for this key. */
  isKeyKnown(spkiPin: string): Promise<boolean>;
  /** Newest first. */
  list(page: PageRequest): Promise<Page<OperatorCertificateRow>>;
  /** Those that are neither revoked nor expired at `now`, and of none of `issuers`; the newest first. */
  goodExceptOf(issuers: ReadonlySet<string>, now: number): Promise<OperatorCertificateRow[]>;
  /** @returns whether it was there and not revoked before. */
  revoke(serial: string, at: number): Promise<boolean>;
  /** Notes a use at `at`, unless one after `unlessAfter` is noted. */
  markUsed(serial: string, at: number, unlessAfter: number): Promise<void>;
}

export function operatorCertificatesTable(db: Db, note: Note): OperatorCertificateRows {
  return {
    async insert(certificate) {
      await db.insertInto('operator_certificates').values(fromNew(certificate)).execute();
    },

    async find(serial) {
      const row = await db
        .selectFrom('operator_certificates')
        .selectAll()
        .where('serial', '=', serial)
        .executeTakeFirst();
      return row && toRow(row);
    },

    async isKeyKnown(spkiPin) {
      const row = await db
        .selectFrom('operator_certificates')
        .select('serial')
        .where('spki_pin', '=', spkiPin)
        .executeTakeFirst();
      return row !== undefined;
    },

    list: (page) =>
      newestFirst(db.selectFrom('operator_certificates').selectAll(), page, toRow, 'created_at', 'serial'),

    async goodExceptOf(issuers, now) {
      const rows = await db
        .selectFrom('operator_certificates')
        .selectAll()
        .where('revoked_at', 'is', null)
        .where('not_after', '>', now)
        .where('issuer_key', 'not in', [...issuers])
        .orderBy('created_at', 'desc')
        .orderBy('serial', 'desc')
        .execute();
      return rows.map(toRow);
    },

    async revoke(serial, at) {
      const row = await db
        .updateTable('operator_certificates')
        .set({ revoked_at: at })
        .where('serial', '=', serial)
        .where('revoked_at', 'is', null)
        .returning('not_after')
        .executeTakeFirst();
      if (row !== undefined) await note(revokedOperatorCertificate(serial, at, row.not_after));
      return row !== undefined;
    },

    async markUsed(serial, at, unlessAfter) {
      await db
        .updateTable('operator_certificates')
        .set({ last_used_at: at })
        .where('serial', '=', serial)
        .where((e) => e.or([e('last_used_at', 'is', null), e('last_used_at', '<=', unlessAfter)]))
        .execute();
    },
  };
}

function fromNew(certificate: NewOperatorCertificate): OperatorCertificatesTable {
  return {
    serial: certificate.serial,
    operator_id: certificate.operatorId,
    name: certificate.name,
    role: certificate.role,
    spki_pin: certificate.spkiPin,
    issuer_key: certificate.issuerKey,
    hosts: JSON.stringify(certificate.hosts),
    tags: JSON.stringify(certificate.tags),
    not_before: certificate.notBefore,
    not_after: certificate.notAfter,
    created_by: certificate.createdBy,
    created_at: certificate.createdAt,
    last_used_at: null,
    revoked_at: null,
  };
}

function toRow(row: Selectable<OperatorCertificatesTable>): OperatorCertificateRow {
  return {
    serial: row.serial,
    operatorId: row.operator_id,
    name: row.name,
    role: row.role as Role,
    spkiPin: row.spki_pin,
    issuerKey: row.issuer_key,
    hosts: readStrings(row.hosts),
    tags: readStrings(row.tags),
    notBefore: row.not_before,
    notAfter: row.not_after,
    createdBy: row.created_by,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
  };
}
