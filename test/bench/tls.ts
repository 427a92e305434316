/** The certificates of a benchmark: a CA, a server leaf and an agent leaf as the product makes them. */
import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { createCa, openCa } from '../../certs/authority.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { systemClock } from '../../shared/clock.ts';

export interface Identity {
  key: string;
  cert: string;
}

export interface BenchTls {
  ca: string;
  server: Identity;
  agent: Identity;
}

/** P-256 leaves under an RSA CA. The CA is RSA-2048 to save seconds: leaves are verified once per connection. */
export async function makeTls(): Promise<BenchTls> {
  const installationId = randomUUID();
  const ca = openCa(await createCa({ installationId, clock: systemClock, bits: 2048 }));
  const server = await ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const agent = await ca.issueAgent({ spki, hostId: randomUUID(), installationId, clock: systemClock });
  return {
    ca: ca.certPem,
    server: { key: server.keyPem, cert: server.certPem },
    agent: { key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })), cert: agent.certPem },
  };
}

/** Options of a listener that demands a client certificate. */
export function serverOptions(tls: BenchTls) {
  return { ...tls.server, ca: tls.ca, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' as const };
}

/** Options of a client that trusts the one CA and the fixed name. */
export function clientOptions(tls: BenchTls) {
  return { ...tls.agent, ca: tls.ca, servername: INTERNAL_SERVER_NAME, minVersion: 'TLSv1.3' as const };
}
