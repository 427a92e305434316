/** Table `host_trust`: the roots that each host has said it trusts. */
import { type Db, readStrings } from './tables.ts';

/** What a host said last. */
export interface TrustAcknowledgement {
  /** Of the bundle that it was told. */
  readonly version: number;
  /** The pins of the roots that it trusts. */
  readonly roots: readonly string[];
  /** ms since 1970. */
  readonly at: number;
}

/** A host that is not revoked, what it trusts, and the certificates that it may come back with. */
export interface HostTrustRow {
  readonly hostId: string;
  readonly name: string;
  /** Undefined: it never said. */
  readonly roots: readonly string[] | undefined;
  readonly certificates: readonly { readonly serial: string; readonly pem: string }[];
}

export interface HostTrust {
  /** Keeps what a host says; nothing for a host that is not there any more. */
  acknowledge(hostId: string, acknowledgement: TrustAcknowledgement): Promise<void>;
  /** All hosts that are not revoked, in the order of their names. */
  list(): Promise<HostTrustRow[]>;
  /** Forgets what removed hosts said. */
  prune(): Promise<void>;
}

export function hostTrustTable(db: Db): HostTrust {
  return {
    async acknowledge(hostId, { version, roots, at }) {
      const value = { version, roots: JSON.stringify(roots), at };
      await db
        .insertInto('host_trust')
        .values({ host_id: hostId, ...value })
        .onConflict((conflict) => conflict.column('host_id').doUpdateSet(value))
        .execute();
    },

    async list() {
      const hosts = await db
        .selectFrom('hosts')
        .leftJoin('host_trust', 'host_trust.host_id', 'hosts.id')
        .select(['hosts.id as hostId', 'hosts.name as name', 'host_trust.roots as roots'])
        .where('hosts.revoked_at', 'is', null)
        .orderBy('hosts.name_key')
        .execute();
      const certificates = await db
        .selectFrom('certificates')
        .select(['host_id', 'serial', 'pem'])
        .where('state', 'in', ['active', 'pending'])
        .orderBy('issued_at')
        .orderBy('serial')
        .execute();
      const ofHost = Map.groupBy(certificates, ({ host_id }) => host_id);
      return hosts.map(({ hostId, name, roots }) => ({
        hostId,
        name,
        roots: roots === null ? undefined : readStrings(roots),
        certificates: (ofHost.get(hostId) ?? []).map(({ serial, pem }) => ({ serial, pem })),
      }));
    },

    async prune() {
      await db
        .deleteFrom('host_trust')
        .where('host_id', 'not in', (e) => e.selectFrom('hosts').select('id'))
        .execute();
    },
  };
}
