/** What the tests of the changes of the root share: a rotation without a server, its hosts, and roots that are offline. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { createOfflineRoot, openCa } from '../../../../certs/authority.ts';
import { readCaRequest } from '../../../../certs/intermediate.ts';
import { spkiOf } from '../../../../certs/pin.ts';
import { trustFrom } from '../../../../certs/trust.ts';
import type { Authority } from '../../../../server/authority/authority.ts';
import { OfflineRoot } from '../../../../server/authority/offline-root.ts';
import type { OperatorCertificate, TrustingHost } from '../../../../server/authority/ports.ts';
import { Rotation, type RotationAction } from '../../../../server/authority/rotation.ts';
import { type FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { p256 } from '../../certs/fixtures.ts';
import { type TestAuthority, testAuthority } from './fixtures.ts';

export const ANN = { name: 'ann', address: '192.0.2.1' };

/** An authority whose root may change, and the hosts that this would concern. */
export interface Rotating extends TestAuthority {
  authority: Authority;
  hosts: TrustingHost[];
  /** Of no root that counts. */
  operators: OperatorCertificate[];
  offline: OfflineRoot;
  take(action: RotationAction, force?: boolean): Promise<void>;
  /** A host with a certificate of what issues now, that has said it trusts `roots`. */
  addHost(name: string, roots?: readonly string[]): Promise<void>;
}

export async function rotating(t: TestContext): Promise<Rotating> {
  const opened = await testAuthority(t);
  return rotatingOver(opened, await opened.open());
}

export function rotatingOver(opened: TestAuthority, authority: Authority): Rotating {
  const hosts: TrustingHost[] = [];
  const operators: OperatorCertificate[] = [];
  const { clock } = opened;
  const log = pino({ level: 'silent' });
  const rotation = new Rotation({
    ...{ authority, clock, log, caKeyBits: 2048 },
    hosts: { list: async () => hosts },
    operatorCertificates: { goodExceptOf: async () => operators },
  });
  return {
    ...opened,
    authority,
    hosts,
    operators,
    offline: new OfflineRoot({ authority, rotation, clock, caKeyBits: 2048 }),
    take: (action, force = false) => rotation.take(action, { force }, ANN),
    async addHost(name, roots) {
      const { serial, certPem: pem } = await issue(authority, opened);
      hosts.push({ hostId: randomUUID(), name, roots, certificates: [{ serial, pem }] });
    },
  };
}

/** A certificate of another host. */
export function issue(authority: Authority, { clock }: Pick<TestAuthority, 'clock'>) {
  const { installationId } = authority;
  return authority.ca.issueAgent({ spki: spkiOf(p256().publicKey), hostId: randomUUID(), installationId, clock });
}

/** Whether an error has this code and says `why`. */
export function refused(code: FairleadError['code'], why: RegExp) {
  return (error: unknown) => {
    assert.ok(isFairleadError(error, code), String(error));
    assert.match(error.message, why);
    return true;
  };
}

export const pinsOf = (authority: Authority) => authority.trust().roots.map(({ fingerprint }) => fingerprint);

/** Which of the published roots whoever knows `pin` ends up with. */
export function led(authority: Authority, pin: string, now = Date.now()): string[] {
  return trustFrom(authority.trust().pem, pin, now).map((root) => root.pin);
}

/** A root that no server has. */
export async function offlineRoot(clock: TestAuthority['clock']) {
  return openCa(await createOfflineRoot({ clock, bits: 2048 }));
}

/** What the root makes of a request: itself, and an intermediate below it. */
export async function signed(
  root: Awaited<ReturnType<typeof offlineRoot>>,
  csr: string,
  clock: TestAuthority['clock'],
  days = 730,
) {
  const { certPem } = await root.issueIntermediate({ ...(await readCaRequest(csr)), days, clock });
  return root.certPem + certPem;
}
