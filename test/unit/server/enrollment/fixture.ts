/** An enrollment service on a real store and a real, if small, CA. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { type Ca, createCa, openCa } from '../../../../certs/authority.ts';
import { createCsr } from '../../../../certs/csr.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { ActiveSerials } from '../../../../server/authority/active-serials.ts';
import { Enrollment } from '../../../../server/enrollment/enrollment.ts';
import type { RedeemRequest } from '../../../../server/enrollment/redeem.ts';
import type { Cleanup } from '../../../support/tmp.ts';
import { openTestStore, StillClock } from '../store/fixture.ts';

export const INSTALLATION = '00000000-0000-4000-8000-000000000000';
export const ADMIN = { name: 'ann', address: '192.0.2.1' };
export const AGENT_ADDRESS = '198.51.100.7';

const material = createCa({ installationId: INSTALLATION, clock: new StillClock(), bits: 2048 });

export interface Opened extends Awaited<ReturnType<typeof openTestStore>> {
  readonly enrollment: Enrollment;
  readonly audit: Audit;
  readonly active: ActiveSerials;
  /** Certificates whose sessions were ended. */
  readonly cutOff: readonly { hostId: string; serials: readonly string[]; reason: string }[];
  readonly ca: Ca;
  readonly caKeyPem: string;
  readonly serverKeyPem: string;
  /** What the audit log could not take. */
  readonly logged: readonly unknown[];
  /** How many certificates the CA has signed for agents. */
  readonly signed: () => number;
}

export async function openEnrollment(cleanup: Cleanup): Promise<Opened> {
  const opened = await openTestStore(cleanup);
  const { store, clock } = opened;
  const { keyPem } = await material;
  const ca = openCa(await material);
  const leaf = await ca.issueServer({ publicHosts: ['localhost'], clock });
  const logged: unknown[] = [];
  const audit = new Audit({
    store,
    clock,
    log: { error: (line: unknown) => void logged.push(line) },
  });
  const active = new ActiveSerials();
  let signed = 0;
  const authority = {
    installationId: INSTALLATION,
    caPem: ca.certPem,
    caFingerprint: ca.fingerprint,
    isTrusted: (pin: string) => pin === ca.fingerprint,
    trust: () => ({ clientCaPem: ca.certPem }),
    ca: {
      issueAgent: (request: Parameters<Ca['issueAgent']>[0]) => {
        signed++;
        return ca.issueAgent(request);
      },
    },
    active,
    serverTls: () => ({ cert: leaf.certPem }),
  };
  const cutOff: { hostId: string; serials: readonly string[]; reason: string }[] = [];
  const enrollment = new Enrollment({
    ...{ store, audit, authority, clock },
    cutOff: (hostId, serials, reason) => {
      for (const serial of serials) active.remove(serial);
      cutOff.push({ hostId, serials, reason });
    },
  });
  return {
    ...opened,
    enrollment,
    audit,
    active,
    cutOff,
    ca,
    caKeyPem: keyPem,
    serverKeyPem: leaf.keyPem,
    logged,
    signed: () => signed,
  };
}

export function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/** What an agent sends; with a key of its own unless one is given. */
export async function aRequest(token: string, change: Partial<RedeemRequest> & { key?: KeyObject } = {}) {
  const { key = newKey(), ...rest } = change;
  const csr = await createCsr(key);
  return { token, csr, hostname: 'Web1', os: 'linux', arch: 'x64', agentVersion: '1.2.3', ...rest };
}
