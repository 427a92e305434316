/** Renewals that are cut off at every step, at either end: a pair that works is left, and the next attempt ends the work. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { loadIdentity, readJournal } from '../../agent/identity/state-dir.ts';
import { createCsr } from '../../certs/csr.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { hostInfo } from '../../shared/messages/host.ts';
import { requestPinned } from '../../shared/pinned-http.ts';
import { forgedCertificate } from '../support/forged.ts';
import { killedAt } from '../support/killed-files.ts';
import {
  enrollHost,
  type Installation,
  newInstallation,
  newKeyPem,
  type ServerOptions,
  startAgent,
  startServer,
  type TestServer,
  workingSerial,
} from '../support/renewal.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
let installation: Installation;

before(async () => {
  installation = await newInstallation(shared);
});

/** Writes of an agent's renewal: key, certificate, then three to put them in place. */
const AGENT_STEPS = 5;
const SERVER_STEPS = ['the certificate is stored', 'the certificate is activated'];

/** The host is online by a new pair, which is the only one that counts at either end. */
async function assertRenewed(server: TestServer, host: { stateDir: string; hostId: string; serial: string }) {
  const { store, registry, active } = server;
  const renewed = await waitFor('the renewal to end', async () => {
    const listed = await store.certificates.active(host.hostId);
    const [only] = listed;
    const isDone = listed.length === 1 && only !== undefined && only.serial !== host.serial;
    const isInPlace = isDone && !existsSync(join(host.stateDir, 'renewal.json'));
    return isInPlace && (await workingSerial(host.stateDir)) === only.serial && only.serial;
  });
  assert.equal((await store.certificates.find(renewed))?.state, 'active');
  assert.equal((await store.certificates.find(host.serial))?.state, 'superseded');
  assert.ok(active.has(renewed) && !active.has(host.serial));
  assert.equal((await store.hosts.get(host.hostId)).quarantinedAt, undefined);
  const link = await waitFor('the session', () => registry.link(host.hostId));
  assert.ok((await link.ping()) >= 0);
  return renewed;
}

async function start(t: TestContext, options: ServerOptions = {}): Promise<{ server: TestServer; own: Installation }> {
  const own = { ...installation, dataDir: join(await tempDir(t, 'renewal'), 'data'), port: 0 };
  return { server: await startServer(t, own, options), own };
}

test('a renewal that nobody disturbs leaves the session and its streams as they are', async (t) => {
  let wanted = '';
  const { server, own } = await start(t, { wants: (serial) => serial === wanted });
  const host = await enrollHost(t, own, server);
  wanted = host.serial;
  const streams: string[] = [];
  await startAgent(t, host.stateDir, {
    onStream: (stream) => {
      streams.push(stream.kind.name);
      stream.aborted.addEventListener('abort', () => streams.push('aborted'));
    },
  });
  const link = await waitFor('the session', () => server.registry.link(host.hostId));
  const asked = link.call(hostInfo, {}, { timeoutMs: 60_000 }).catch((error: unknown) => error);
  const renewed = await assertRenewed(server, host);
  assert.equal(server.registry.link(host.hostId), link, 'the same session goes on');
  assert.deepEqual(streams, ['host.info'], 'and its stream with it');
  await server.hosts.revokeSerial(renewed, 'test', { name: 'tester' });
  assert.equal((await link.closed).code, 'CERT_REVOKED', 'it is the new serial that ends it');
  await asked;
});

test('while another process connects by the pair it stays as it is, and is renewed after that', async (t) => {
  let wanted = '';
  const { server, own } = await start(t, { wants: (serial) => serial === wanted });
  const host = await enrollHost(t, own, server);
  wanted = host.serial;
  const { renewer } = await startAgent(t, host.stateDir);
  const goOn = await renewer.hold();
  const since = await waitFor('the session', () => server.registry.link(host.hostId) && performance.now());
  // Several times what an agent here waits once it is asked to renew.
  await waitFor('that time to pass', () => performance.now() - since > 600);
  assert.equal(existsSync(join(host.stateDir, 'renewal.json')), false);
  assert.equal(await workingSerial(host.stateDir), host.serial);
  goOn();
  goOn();
  await assertRenewed(server, host);
});

for (let step = 1; step <= AGENT_STEPS; step++) {
  for (const when of ['before', 'after'] as const) {
    test(`an agent killed ${when} write ${step} of a renewal goes on with a pair that works`, async (t) => {
      let wanted = '';
      const { server, own } = await start(t, { wants: (serial) => serial === wanted });
      const host = await enrollHost(t, own, server);
      wanted = host.serial;
      const { files, killed } = killedAt(step, when);
      const doomed = await startAgent(t, host.stateDir, { files });
      await killed;
      await doomed.stop();
      const again = await startAgent(t, host.stateDir);
      await assertRenewed(server, host);
      assert.deepEqual(again.recoveries, []);
    });
  }
}

for (const [index, what] of SERVER_STEPS.entries()) {
  for (const when of ['before', 'after'] as const) {
    test(`a server killed ${when} ${what} finds its way when it is back`, async (t) => {
      let wanted = '';
      let transactions = 0;
      const { promise: reached, resolve } = Promise.withResolvers<void>();
      const fault = (at: 'before' | 'after') => {
        if (at === 'before') transactions += 1;
        if (transactions < index + 1 || (transactions === index + 1 && at === 'before' && when === 'after')) return;
        resolve();
        throw new Error('killed');
      };
      const { server, own } = await start(t, { wants: (serial) => serial === wanted, fault });
      const host = await enrollHost(t, own, server);
      wanted = host.serial;
      const agent = await startAgent(t, host.stateDir);
      await reached;
      await server.kill();
      const back = await startServer(t, own, { wants: (serial) => serial === wanted });
      await assertRenewed(back, host);
      assert.deepEqual(agent.recoveries, []);
    });
  }
}

test('an agent that never got to use its new pair goes on with the old one, and is no clone', async (t) => {
  let wanted = '';
  const { server, own } = await start(t, { wants: (serial) => serial === wanted });
  const host = await enrollHost(t, own, server);
  wanted = host.serial;
  // Killed with the new pair in its journal, which the server then forgets: restored from a backup, say.
  const { files, killed } = killedAt(3, 'before');
  const doomed = await startAgent(t, host.stateDir, { files });
  await killed;
  await doomed.stop();
  const [pending] = (await server.store.certificates.list({}, { hostId: host.hostId })).items;
  assert.notEqual(pending?.serial, host.serial);
  await server.store.db
    .deleteFrom('certificates')
    .where('serial', '=', pending?.serial ?? '')
    .execute();
  await server.store.db.updateTable('certificates').set({ state: 'active' }).execute();
  await server.kill();
  wanted = '';
  const back = await startServer(t, own);
  const agent = await startAgent(t, host.stateDir);
  await waitFor('the session', () => back.registry.link(host.hostId));
  assert.equal(await workingSerial(host.stateDir), host.serial);
  assert.ok(!existsSync(join(host.stateDir, 'renewal.json')));
  assert.equal((await back.store.hosts.get(host.hostId)).quarantinedAt, undefined);
  assert.deepEqual(agent.recoveries, []);
});

test('a session that ends as its certificate expires says nothing against the new pair, which comes next', async (t) => {
  let wanted = '';
  let isDiskAway = false;
  let transactions = 0;
  const fault = (at: 'before' | 'after') => {
    if (isDiskAway) throw new Error('the disk is away');
    // Once the new certificate is issued it cannot be proven for a while.
    transactions += 1;
    isDiskAway = at === 'after' && transactions === 2;
  };
  const { server, own } = await start(t, { wants: (serial) => serial === wanted, fault });
  const host = await enrollHost(t, own, server);
  wanted = host.serial;
  const agent = await startAgent(t, host.stateDir);
  const link = await waitFor('the session', () => server.registry.link(host.hostId));
  await waitFor('the new pair', async () => (await readJournal(host.stateDir))?.certPem);
  const [issued] = await server.store.certificates.pending();
  server.listener.disconnect(host, 'CERT_EXPIRED', 'the certificate has expired');
  await link.closed;
  isDiskAway = false;
  await waitFor('the new pair in its place', async () => (await workingSerial(host.stateDir)) !== host.serial);
  assert.equal(await workingSerial(host.stateDir), issued);
  assert.equal((await server.store.certificates.list({}, { hostId: host.hostId })).items.length, 2);
  assert.deepEqual(agent.recoveries, []);
});

test('a session by the same certificate that did not ask for the new one ends when that is used', async (t) => {
  const { server, own } = await start(t);
  const host = await enrollHost(t, own, server);
  await startAgent(t, host.stateDir);
  const link = await waitFor('the session', () => server.registry.link(host.hostId));
  const identity = { ...host, notAfter: Date.now() + 60_000, issuerKey: '', spkiPin: '' };
  const csr = await createCsr(createPrivateKey(newKeyPem()));
  // As another machine with a copy of the pair would, whose session this one has replaced.
  const { serial } = await server.admission.renew(identity, csr, '192.0.2.1');
  await server.admission.use({ ...identity, serial }, '192.0.2.1');
  assert.equal((await link.closed).code, 'CERT_UNKNOWN');
});

test('a copy of a superseded pair reads why it is refused, and the session of its host ends', async (t) => {
  let wanted = '';
  const { server, own } = await start(t, { wants: (serial) => serial === wanted });
  const host = await enrollHost(t, own, server);
  const copy = join(await tempDir(t, 'copy'), 'state');
  await cp(host.stateDir, copy, { recursive: true });
  wanted = host.serial;
  await startAgent(t, host.stateDir);
  await assertRenewed(server, host);
  const link = server.registry.link(host.hostId);
  const { keyPem, certPem, caPem, record } = await loadIdentity(copy);
  const answer = await requestPinned({
    ...{ url: `https://127.0.0.1:${own.port}/agent/activate`, method: 'POST', ca: caPem },
    ...{ servername: INTERNAL_SERVER_NAME, client: { cert: certPem, key: keyPem } },
  });
  assert.equal(answer.status, 403);
  assert.match(JSON.stringify(answer.body), new RegExp(`QUARANTINED.*${record.name} is in quarantine`));
  assert.equal((await link?.closed)?.code, 'QUARANTINED');
  const idle = await requestPinned({
    ...{ url: `https://127.0.0.1:${own.port}/`, method: 'GET', ca: caPem },
    ...{ servername: INTERNAL_SERVER_NAME, client: { cert: certPem, key: keyPem } },
  });
  assert.equal(idle.status, 426);
});

test('a certificate by a stolen CA key under the serial of one that counts opens nothing, and quarantines nobody', async (t) => {
  const { server, own } = await start(t);
  const [host, other] = [await enrollHost(t, own, server), await enrollHost(t, own, server, { name: 'beta' })];
  await startAgent(t, host.stateDir);
  const link = await waitFor('the session', () => server.registry.link(host.hostId));
  await server.store.certificates.supersede(other.serial, 'superseded by another one');
  server.active.remove(other.serial);
  const { installationId, material, ca } = own.ca;
  const keyPem = newKeyPem();
  const notAfter = Date.now() + 3_600_000;
  for (const { hostId: id, serial } of [host, other]) {
    const cert = await forgedCertificate(material, { serial, installationId, id, kind: 'agent', keyPem, notAfter });
    const answer = await requestPinned({
      ...{ url: `https://127.0.0.1:${own.port}/agent/activate`, method: 'POST', ca: ca.certPem },
      ...{ servername: INTERNAL_SERVER_NAME, client: { cert, key: keyPem } },
    });
    assert.deepEqual([answer.status, codeIn(answer.body)], [403, 'CERT_UNKNOWN']);
    assert.equal((await server.store.hosts.get(id)).quarantinedAt, undefined);
  }
  assert.equal(server.registry.link(host.hostId), link, 'its host goes on');
});

function codeIn(body: unknown): unknown {
  return typeof body === 'object' && body !== null && 'code' in body ? body.code : undefined;
}
