/** A rotation of the CA while hosts renew by it: whoever is killed wherever, and whichever way it turns, all come back. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { durableFiles } from '../../agent/identity/renewal-journal.ts';
import { loadIdentity } from '../../agent/identity/state-dir.ts';
import { formatStatus, readStatus } from '../../agent/identity/status.ts';
import { createOfflineRoot, openCa } from '../../certs/authority.ts';
import { createCsr } from '../../certs/csr.ts';
import { readCaRequest } from '../../certs/intermediate.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { certificateBlocks } from '../../certs/pem.ts';
import { rootsIn } from '../../certs/trust.ts';
import { authorityKeyIdentifier } from '../../certs/x509-fields.ts';
import { OfflineRoot } from '../../server/authority/offline-root.ts';
import { systemClock } from '../../shared/clock.ts';
import { killedAt } from '../support/killed-files.ts';
import { ADMIN, startAgent, type TestAgent } from '../support/renewal.ts';
import { newPlace, startFleet, type TestFleet } from '../support/rotation.ts';
import { waitFor } from '../support/wait.ts';

const PATIENT = { timeoutMs: 30_000 };

/** The key, then the certificate; what follows puts them in place. */
const ISSUED = 2;

/** Starts an agent that is killed with a new certificate in its journal that it has not used. */
async function killHoldingUnused(t: TestContext, host: { stateDir: string }): Promise<void> {
  const { files, killed } = killedAt(ISSUED, 'after');
  const doomed = await startAgent(t, host.stateDir, { files });
  await killed;
  await doomed.stop();
}

async function online(fleet: TestFleet, hostId: string): Promise<void> {
  await waitFor(
    'the session',
    async () => {
      const link = fleet.registry.link(hostId);
      if (link === undefined) return false;
      return await link.ping().then(
        () => true,
        () => false,
      );
    },
    PATIENT,
  );
}

/** The host has said that it trusts all there is. */
async function told(fleet: TestFleet): Promise<void> {
  await waitFor('the word of the host', async () => (await fleet.rotation.status()).acknowledged === 1, PATIENT);
}

/** The one certificate that counts at either end is of the current root, and the host is connected by it. */
async function followed(fleet: TestFleet, host: { stateDir: string; hostId: string }): Promise<void> {
  const { currentIssuers } = fleet.authority.trust();
  await waitFor(
    'a certificate of the current root',
    async () => {
      const { certificate } = await loadIdentity(host.stateDir);
      const issuer = authorityKeyIdentifier(certificate)?.toString('hex') ?? '';
      const listed = await fleet.store.certificates.active(host.hostId);
      const isOnly =
        listed.length === 1 && listed[0]?.serial.padStart(40, '0') === certificate.serialNumber.padStart(40, '0');
      return currentIssuers.has(issuer) && isOnly && !existsSync(join(host.stateDir, 'renewal.json'));
    },
    PATIENT,
  );
  await online(fleet, host.hostId);
  assert.deepEqual((await fleet.rotation.status()).otherCertificates, []);
  assert.equal((await fleet.store.hosts.get(host.hostId)).quarantinedAt, undefined);
}

async function setUp(t: TestContext) {
  const place = await newPlace(t);
  const fleet = await startFleet(t, place);
  const host = await fleet.enroll('alpha');
  return { place, fleet, host };
}

async function again(t: TestContext, agent: TestAgent, host: { stateDir: string }): Promise<TestAgent> {
  await agent.stop();
  return await startAgent(t, host.stateDir);
}

test('an agent that is killed between storing the roots and saying so says it when it is back', async (t) => {
  const { fleet, host } = await setUp(t);
  await fleet.take('publish');
  const { promise: stored, resolve } = Promise.withResolvers<void>();
  const doomed = await startAgent(t, host.stateDir, {
    beforeAck: () => {
      resolve();
      throw new Error('killed');
    },
  });
  await stored;
  await doomed.stop();
  assert.equal(rootsIn(await readFile(join(host.stateDir, 'ca.pem'), 'utf8')).length, 2);
  assert.equal((await fleet.rotation.status()).acknowledged, 0);
  await startAgent(t, host.stateDir);
  await told(fleet);
});

test('agents renew by themselves once a root is activated, and the old one is retired without force', async (t) => {
  const { fleet, host } = await setUp(t);
  let agent = await startAgent(t, host.stateDir);
  await fleet.take('publish');
  await told(fleet);
  await fleet.take('activate');
  await assert.rejects(fleet.take('retire'), { code: 'CONFLICT', message: /alpha$/ });
  agent = await again(t, agent, host);
  await followed(fleet, host);
  await told(fleet);
  const link = fleet.registry.link(host.hostId);
  await fleet.take('retire');
  await waitFor('one root', async () => rootsIn((await loadIdentity(host.stateDir)).caPem).length === 1);
  assert.equal(fleet.registry.link(host.hostId), link, 'the session that has renewed goes on');
  await again(t, agent, host);
  await online(fleet, host.hostId);
});

test('an agent and a server that are killed between a certificate of the new root and its use end the work', async (t) => {
  const { place, fleet, host } = await setUp(t);
  const first = await startAgent(t, host.stateDir);
  await fleet.take('publish');
  await told(fleet);
  await first.stop();
  await fleet.take('activate');
  await killHoldingUnused(t, host);
  await fleet.kill();
  const [pending, ...more] = await withFleet(t, place, (one) => one.store.certificates.pending());
  assert.ok(pending);
  assert.deepEqual(more, []);
  const back = await startFleet(t, place);
  assert.equal(back.authority.phase, 'activated');
  await assert.rejects(back.take('retire'), { code: 'CONFLICT', message: /alpha$/ });
  const status = await readStatus(host.stateDir, Date.now());
  assert.match(formatStatus(status), /renewal +pending since/);
  const agent = await startAgent(t, host.stateDir);
  await followed(back, host);
  assert.deepEqual(agent.recoveries, []);
  await told(back);
  await back.take('retire');
});

async function withFleet<T>(
  t: TestContext,
  place: Awaited<ReturnType<typeof newPlace>>,
  work: (fleet: TestFleet) => Promise<T>,
): Promise<T> {
  const fleet = await startFleet(t, place);
  try {
    return await work(fleet);
  } finally {
    await fleet.kill();
  }
}

test('hosts that renewed by a root that is taken back are served by it meanwhile, and come back to the old one', async (t) => {
  const { fleet, host } = await setUp(t);
  let agent = await startAgent(t, host.stateDir);
  await fleet.take('publish');
  await told(fleet);
  await fleet.take('activate');
  agent = await again(t, agent, host);
  await followed(fleet, host);
  const link = fleet.registry.link(host.hostId);
  await fleet.take('abort');
  assert.equal(fleet.registry.link(host.hostId), link);
  await assert.rejects(fleet.take('abort'), { code: 'CONFLICT', message: /alpha$/ });
  agent = await again(t, agent, host);
  await followed(fleet, host);
  await fleet.take('abort');
  assert.equal(fleet.authority.phase, 'stable');
  await again(t, agent, host);
  await online(fleet, host.hostId);
});

/** A rotation that was activated and given up, and a host that holds a certificate of the new root and never used it. */
async function givenUpHoldingUnused(t: TestContext) {
  const { fleet, host } = await setUp(t);
  const first = await startAgent(t, host.stateDir);
  await fleet.take('publish');
  await told(fleet);
  await fleet.take('activate');
  await first.stop();
  await killHoldingUnused(t, host);
  await fleet.take('abort');
  return { fleet, host };
}

test('a step back from the new root waits for a host that has a certificate of it in hand, unused', async (t) => {
  const { fleet, host } = await givenUpHoldingUnused(t);
  await assert.rejects(fleet.take('abort'), { code: 'CONFLICT', message: /alpha$/ });
  await startAgent(t, host.stateDir);
  await followed(fleet, host);
  await fleet.take('abort');
  await online(fleet, host.hostId);
});

test('a key that was answered by a root that was given up since gets no answer of before', async (t) => {
  const { fleet, host } = await givenUpHoldingUnused(t);
  await fleet.take('abort', true);
  // It has the key, and lost the answer.
  const journal = join(host.stateDir, 'renewal.json');
  const { certPem: _, ...key } = JSON.parse(await readFile(journal, 'utf8'));
  await durableFiles.write(journal, JSON.stringify(key), 0o600);
  const identity = {
    hostId: host.hostId,
    serial: host.serial,
    notAfter: Number.POSITIVE_INFINITY,
    issuerKey: '',
    spkiPin: '',
  };
  const csr = await createCsr(createPrivateKey(key.keyPem));
  await assert.rejects(fleet.succession.admission.renew(identity, csr, ''), { code: 'CSR_INVALID' });
  await fleet.take('publish');
  const next = await startAgent(t, host.stateDir);
  await told(fleet);
  await fleet.take('activate');
  await next.stop();
  await startAgent(t, host.stateDir);
  await followed(fleet, host);
});

/** Lets a client's first flight through to `port`, and what follows only when it is told to. */
async function holdingProxy(t: TestContext, port: number) {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const { promise: greeted, resolve } = Promise.withResolvers<void>();
  const proxy = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1');
    server.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.on('error', () => server.destroy()).on('close', () => server.destroy());
    // The answer is here, so that the server's side of the handshake has begun.
    server.once('data', () => resolve());
    server.pipe(client);
    client.once('data', (hello) => {
      server.write(hello);
      client.pause();
      void released.then(() => client.pipe(server));
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.after(() => proxy.close());
  return { port: (proxy.address() as net.AddressInfo).port, greeted, release };
}

test('a handshake that a root verifies which is retired before its end opens nothing', async (t) => {
  const { place, fleet, host } = await setUp(t);
  await fleet.take('publish');
  await fleet.take('activate');
  const { keyPem: key, certPem: cert } = await loadIdentity(host.stateDir);
  const knock = async (port: number) => {
    const trust = { rejectUnauthorized: false, servername: INTERNAL_SERVER_NAME };
    const socket = tls.connect({ host: '127.0.0.1', port, cert, key, ...trust });
    socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
    return await new Promise<string>((resolve) => {
      socket.once('data', (data) => resolve(String(data).slice(0, 12)));
      socket.once('error', () => resolve('refused'));
      socket.once('close', () => resolve('refused'));
    }).finally(() => socket.destroy());
  };
  assert.equal(await knock(place.port), 'HTTP/1.1 426');
  const { port, greeted, release } = await holdingProxy(t, place.port);
  const late = knock(port);
  await greeted;
  await fleet.take('retire', true);
  release();
  assert.equal(await late, 'refused');
});

test('below an offline root a host renews with its chain, and another intermediate of that root disturbs nobody', async (t) => {
  const { fleet, host } = await setUp(t);
  const { authority, rotation } = fleet;
  const clock = systemClock;
  const offline = new OfflineRoot({ authority, rotation, clock, caKeyBits: 2048 });
  const root = openCa(await createOfflineRoot({ clock, bits: 2048 }));
  const importNext = async () => {
    const request = await readCaRequest(await offline.request(ADMIN));
    const { certPem } = await root.issueIntermediate({ ...request, days: 1, clock });
    return await offline.import(root.certPem + certPem, ADMIN);
  };
  let agent = await startAgent(t, host.stateDir);
  assert.equal(await importNext(), 'published');
  await told(fleet);
  await fleet.take('activate');
  await agent.stop();
  // Killed with the chain in its journal.
  await killHoldingUnused(t, host);
  agent = await startAgent(t, host.stateDir);
  await followed(fleet, host);
  const { certPem, certificate } = await loadIdentity(host.stateDir);
  assert.equal(certificateBlocks(certPem).length, 2);
  assert.equal(
    certificate.validToDate.getTime(),
    authority.ca.notAfter.getTime(),
    'it lasts as long as its intermediate',
  );
  assert.match(formatStatus(await readStatus(host.stateDir, Date.now())), /certificate +[0-9A-F]+, until/);
  await told(fleet);
  await fleet.take('retire');

  const link = fleet.registry.link(host.hostId);
  assert.equal(await importNext(), 'renewed');
  assert.equal(fleet.registry.link(host.hostId), link);
  await again(t, agent, host);
  await online(fleet, host.hostId);
  assert.equal((await loadIdentity(host.stateDir)).certPem, certPem, 'it is not renewed before its time');
  assert.deepEqual((await fleet.rotation.status()).otherCertificates, []);
});
