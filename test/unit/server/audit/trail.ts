/** An audit log with all that the server does with it, over a real store, a small CA and a clock that is moved by hand. */
import { pino } from 'pino';
import { type Ca, createCa, openCa } from '../../../../certs/authority.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { type AuditAuthority, type AuditPolicy, AuditTrail } from '../../../../server/audit/audit-trail.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type Cleanup, tempDir } from '../../../support/tmp.ts';

export const NOTHING: AuditPolicy = { keepMs: undefined, file: undefined, webhook: undefined };
const INSTALLATION = '00000000-0000-4000-8000-000000000000';

export async function aCa(): Promise<Ca> {
  return openCa(await createCa({ installationId: INSTALLATION, clock: new FakeClock(), bits: 2048 }));
}
const theCa = aCa();

export interface OpenTrail {
  readonly store: Store;
  readonly audit: Audit;
  readonly trail: AuditTrail;
  readonly clock: FakeClock;
  /** The CA, which may be replaced. */
  readonly authority: AuditAuthority & { readonly ca: Ca };
  /** Lines of the program's log. */
  readonly logged: string[];
  readonly dataDir: string;
  /** Adds rows, one after the other. */
  add(count: number, action?: string): Promise<void>;
  /** Closes it, and the store with it, as a server that stops does. */
  stop(): Promise<void>;
  /** Closes the store only, as a server that is killed does. */
  kill(): Promise<void>;
}

export async function openTrail(
  cleanup: Cleanup,
  {
    policy = NOTHING,
    dataDir,
    clock = new FakeClock(),
  }: { policy?: AuditPolicy; dataDir?: string; clock?: FakeClock } = {},
): Promise<OpenTrail> {
  const directory = dataDir ?? `${await tempDir(cleanup, 'trail')}/data`;
  const store = await openStore({ dataDir: directory, clock });
  const logged: string[] = [];
  const log = pino({}, { write: (line: string) => void logged.push(line) });
  const ca = await theCa;
  const authority = { trust: () => ({ pem: ca.certPem }), ca };
  const audit = new Audit({ store, clock, log });
  const trail = await AuditTrail.open({ store, audit, authority, policy, clock, log, random: () => 0 });
  let closed: Promise<void> | undefined;
  const stop = () => {
    closed ??= trail.close().then(() => store.close());
    return closed;
  };
  cleanup.after(stop);
  return {
    ...{ store, audit, trail, clock, authority, logged, dataDir: directory },
    async add(count, action = 'x') {
      for (let i = 0; i < count; i++) await audit.record({ actor: 'a', action, result: 'ok', detail: { i } });
    },
    stop,
    async kill() {
      await Promise.all(trail.forwarders.map((forwarder) => forwarder.close()));
      closed = store.close();
      await closed;
    },
  };
}
