/** The agent's way back, against an API that answers as the server may. */
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, randomUUID, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { Credentials } from '../../../../agent/identity/credentials.ts';
import { KnownRoots } from '../../../../agent/identity/known-roots.ts';
import { recover } from '../../../../agent/identity/recover.ts';
import { storeIdentity } from '../../../../agent/identity/state-dir.ts';
import { formatStatus, readStatus } from '../../../../agent/identity/status.ts';
import { catchUp } from '../../../../agent/link/trust-controls.ts';
import { createCsr, readCsr } from '../../../../certs/csr.ts';
import { readCertificate } from '../../../../certs/pem.ts';
import { isRecoveryProof } from '../../../../certs/recovery-proof.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { tempDir } from '../../../support/tmp.ts';
import { type Answer, issue, newPki, type Pki, problem, startApi } from './pki.ts';

let pki: Pki;
before(async () => {
  pki = await newPki();
});

interface Asked {
  certificate: string;
  csr: string;
  proof: string;
}

/** A host whose server gives one answer after the other, the last one for ever. */
async function setUp(
  t: TestContext,
  answers: ((asked: Asked, hostId: string) => Answer | Promise<Answer>)[],
  /** The server's root by now, and what it publishes. */
  { served = pki, bundle = '' }: { served?: Pki; bundle?: string } = {},
) {
  const hostId = randomUUID();
  const asked: Asked[] = [];
  const api = await startApi(t, served, async (request) => {
    const one = request as unknown as Asked;
    asked.push(one);
    const answer = answers[Math.min(asked.length, answers.length) - 1];
    assert.ok(answer);
    return await answer(one, hostId);
  });
  const stateDir = await tempDir(t, 'recover');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const certPem = await issue(pki, await createCsr(createPrivateKey(keyPem)), hostId);
  const record = {
    ...{
      hostId,
      name: 'web-1',
      server: api.url,
      agentUrl: 'wss://127.0.0.1:1/agent',
      enrolledAt: '2026-01-01T00:00:00Z',
    },
    caFingerprint: pki.ca.fingerprint,
  };
  await storeIdentity(stateDir, { keyPem, certPem, caPem: pki.ca.certPem, record });
  const credentials = await Credentials.load(stateDir);
  const log = pino({ level: 'silent' });
  const roots = new KnownRoots(credentials, { stateDir, clock: systemClock, log, fetchBundle: async () => bundle });
  const waits: string[] = [];
  const stop = new AbortController();
  const run = () =>
    recover(
      {
        credentials,
        httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0 }),
        clock: systemClock,
        log,
        // The shortest delays there are.
        random: () => 0,
        onWait: (why) => waits.push(why),
        onUnverified: () => catchUp(roots, log),
      },
      'the certificate expired',
      stop.signal,
    );
  return { asked, credentials, stateDir, certPem, waits, stop, run };
}

const waiting = (): Answer => ({ status: 202, body: { status: 'pending' } });
const issued = async ({ csr }: Asked, hostId: string): Promise<Answer> => ({
  status: 201,
  body: { certificate: await issue(pki, csr, hostId), notAfter: '2030-01-01T00:00:00Z' },
});

test('it proves the last key, waits, and has the new pair in its journal once it is let in', async (t) => {
  const { asked, credentials, stateDir, certPem, waits, run } = await setUp(t, [waiting, waiting, issued]);
  await run();
  assert.equal(asked.length, 3);
  for (const { certificate, csr, proof } of asked) {
    assert.equal(certificate, certPem);
    assert.ok(await isRecoveryProof(new X509Certificate(certPem), csr, proof));
  }
  assert.match(waits[0] ?? '', /the certificate expired; an administrator must approve it/);
  assert.ok(credentials.isUnproven);
  assert.notEqual(credentials.current().certPem, certPem);
  const status = await readStatus(stateDir, Date.now());
  assert.equal(status.renewal?.issued, true);
  assert.match(formatStatus(status), /renewal +pending since .*: issued, and not used yet/);
  const again = await Credentials.load(stateDir);
  assert.equal(again.current().certPem, credentials.current().certPem, 'also for the next process');
});

test('it asks with one key all the while, also after a restart, and with another one if that is of no use', async (t) => {
  const bad = () => problem(400, 'CSR_INVALID', 'used before');
  const { asked, run, stateDir, credentials } = await setUp(t, [waiting, bad, issued]);
  const before = await credentials.request(0);
  const keyOf = async (csr: string) => (await readCsr(csr)).spkiPin;
  assert.equal(await keyOf(await (await Credentials.load(stateDir)).request(0)), await keyOf(before));
  await run();
  const keys = await Promise.all(asked.map(({ csr }) => keyOf(csr)));
  assert.equal(keys[0], await keyOf(before));
  assert.equal(keys[1], keys[0]);
  assert.notEqual(keys[2], keys[0]);
});

test('it gives up with the reason when there is no way, and not before', async (t) => {
  for (const [status, code] of [
    [403, 'RECOVERY_DENIED'],
    [403, 'CERT_REVOKED'],
    [403, 'CERT_UNKNOWN'],
    [404, 'HOST_NOT_FOUND'],
    [404, 'NOT_FOUND'],
  ] as const) {
    const passing = () => problem(503, 'STORE_FULL', 'the disk is full');
    const { run, asked } = await setUp(t, [() => 'hang up', passing, () => problem(status, code, 'that is why')]);
    await assert.rejects(run(), (error) => isFairleadError(error, code) && /that is why/.test(error.message));
    assert.equal(asked.length, 3);
  }
});

test('a certificate that the server finds good is worth to connect with; one for another key is not taken', async (t) => {
  const good = await setUp(t, [() => problem(409, 'CONFLICT', 'it is good')]);
  await good.run();
  assert.equal(good.credentials.isUnproven, false);

  const other = async (_asked: Asked, hostId: string): Promise<Answer> => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return { status: 201, body: { certificate: await issue(pki, await createCsr(privateKey), hostId) } };
  };
  const { run, waits, stateDir } = await setUp(t, [other, issued]);
  await run();
  assert.match(waits[0] ?? '', /not for the key made here/);
  assert.ok(existsSync(join(stateDir, 'renewal.json')));
});

test('it follows a server that has got another root meanwhile, by the word of the old one alone', async (t) => {
  const next = await newPki();
  const word = await pki.ca.endorse({ root: readCertificate(next.ca.certPem), days: 30, clock: systemClock });
  const served = { ...next, installationId: pki.installationId };
  const both = next.ca.certPem + pki.ca.certPem;
  const issuedByNext = async ({ csr }: Asked, hostId: string): Promise<Answer> => ({
    status: 201,
    body: { certificate: await issue(served, csr, hostId) },
  });
  const { run, asked, credentials } = await setUp(t, [issuedByNext], { served, bundle: both + word });
  await run();
  assert.equal(asked.length, 1);
  assert.ok(credentials.isUnproven);

  const stranger = await setUp(t, [issuedByNext], { served, bundle: both });
  const running = stranger.run();
  while (stranger.waits.length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
  stranger.stop.abort(new FairleadError('SHUTDOWN', 'stopped'));
  await assert.rejects(running, { code: 'SHUTDOWN' });
  assert.equal(stranger.asked.length, 0, 'nothing is sent to a server that nobody vouches for');
});

test('it stops when it is told to', async (t) => {
  const { run, stop } = await setUp(t, [() => problem(403, 'QUARANTINED', 'a copy is about')]);
  const running = run();
  setTimeout(() => stop.abort(new FairleadError('SHUTDOWN', 'stopped')), 200);
  await assert.rejects(running, { code: 'SHUTDOWN' });
});
