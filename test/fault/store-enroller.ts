/** A program that enrolls host after host into the store named on its command line, until it is killed. */
import { createCa, openCa } from '../../certs/authority.ts';
import { Audit } from '../../server/audit/audit.ts';
import { ActiveSerials } from '../../server/authority/active-serials.ts';
import { Enrollment } from '../../server/enrollment/enrollment.ts';
import { openStore } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { ADMIN, AGENT_ADDRESS, aRequest, INSTALLATION } from '../unit/server/enrollment/fixture.ts';

const [, , dataDir] = process.argv;
const clock = systemClock;
const store = await openStore({ dataDir: dataDir ?? '', clock });
const ca = openCa(await createCa({ installationId: INSTALLATION, clock, bits: 2048 }));
const leaf = await ca.issueServer({ publicHosts: [], clock });
const audit = new Audit({
  store,
  clock,
  log: {
    error: (line: unknown) => {
      throw new Error(JSON.stringify(line));
    },
  },
});
const authority = {
  installationId: INSTALLATION,
  caPem: ca.certPem,
  caFingerprint: ca.fingerprint,
  isTrusted: (pin: string) => pin === ca.fingerprint,
  trust: () => ({ clientCaPem: ca.certPem }),
  ca,
  active: new ActiveSerials(),
  serverTls: () => ({ cert: leaf.certPem }),
};
const enrollment = new Enrollment({ store, audit, authority, clock, cutOff: () => undefined });

async function enrollForEver(): Promise<void> {
  for (;;) {
    const { token } = await enrollment.createToken({}, ADMIN);
    const { hostId, certificate } = await enrollment.redeem(await aRequest(token), AGENT_ADDRESS);
    process.stdout.write(`${JSON.stringify({ hostId, certificate })}\n`);
  }
}

await Promise.all([enrollForEver(), enrollForEver(), enrollForEver()]);
