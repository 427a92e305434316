/** How one certificate of a host follows on another: pending until its first use, which supersedes those before it. */
import type { CertificateState, Certificates } from './certificates.ts';
import { revokedCertificate, supersededCertificate } from './revocations.ts';
import type { Db, Note } from './tables.ts';

type Succession = Pick<Certificates, 'pending' | 'activate' | 'supersede' | 'revokePending' | 'revokeSuperseded'>;

export function certificateSuccession(db: Db, note: Note): Succession {
  const revokeWhere = async (hostId: string, state: CertificateState, at: number, reason: string) => {
    const rows = await db
      .updateTable('certificates')
      .set({ state: 'revoked', revoked_at: at, reason })
      .where('host_id', '=', hostId)
      .where('state', '=', state)
      .returning(['serial', 'not_after'])
      .execute();
    await note(...rows.map((row) => revokedCertificate(row.serial, at, row.not_after, reason)));
    return rows.map((row) => row.serial);
  };

  return {
    async pending() {
      const rows = await db.selectFrom('certificates').select('serial').where('state', '=', 'pending').execute();
      return rows.map((row) => row.serial);
    },

    async activate(serial, at) {
      const activated = await db
        .updateTable('certificates')
        .set({ state: 'active' })
        .where('serial', '=', serial)
        .where('state', '=', 'pending')
        .returning('host_id')
        .executeTakeFirst();
      if (activated === undefined) return undefined;
      const reason = `superseded by ${serial}`;
      const rows = await db
        .updateTable('certificates')
        .set({ state: 'superseded', reason })
        .where('host_id', '=', activated.host_id)
        .where('state', '=', 'active')
        .where('serial', '!=', serial)
        .returning(['serial', 'not_after'])
        .execute();
      await note(...rows.map((row) => supersededCertificate(row.serial, at, row.not_after, reason)));
      return rows.map((row) => row.serial);
    },

    async supersede(serial, reason) {
      const { numUpdatedRows } = await db
        .updateTable('certificates')
        .set({ state: 'superseded', reason })
        .where('serial', '=', serial)
        .where('state', 'in', ['active', 'pending'])
        .executeTakeFirst();
      return numUpdatedRows > 0n;
    },

    revokePending: (hostId, at, reason) => revokeWhere(hostId, 'pending', at, reason),

    revokeSuperseded: (hostId, at, reason) => revokeWhere(hostId, 'superseded', at, reason),
  };
}
