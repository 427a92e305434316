import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { before, type TestContext, test } from 'node:test';
import * as tls from 'node:tls';
import { agentIdentity, INTERNAL_SERVER_NAME } from '../../../certs/names.ts';
import { type KeyPair, privateKeyPem } from '../../../certs/native.ts';
import { spkiOf } from '../../../certs/pin.ts';
import { type Clock, systemClock } from '../../../shared/clock.ts';
import { clockAt, DAY_MS, p256, rsa, type TestCa, testCa } from './fixtures.ts';

interface Pair {
  key: string;
  cert: string;
}

const hostId = randomUUID();
let one: TestCa;
let server: Pair;
let agent: Pair;

async function agentOf(to: TestCa, keys: KeyPair = p256(), clock: Clock = systemClock): Promise<Pair> {
  const { ca, installationId } = to;
  const { certPem } = await ca.issueAgent({ spki: spkiOf(keys.publicKey), hostId, installationId, clock });
  return { key: privateKeyPem(keys.privateKey), cert: certPem };
}

async function serverOf(to: TestCa): Promise<Pair> {
  const issued = await to.ca.issueServer({ publicHosts: ['localhost', '127.0.0.1'], clock: systemClock });
  return { key: issued.keyPem, cert: issued.certPem };
}

before(async () => {
  // Old enough for a certificate that has expired since.
  one = await testCa(clockAt(Date.now() - 60 * DAY_MS));
  server = await serverOf(one);
  agent = await agentOf(one);
});

/** What came of a handshake: what the server saw of an agent that TLS verified, or why one end refused the other. */
interface Meeting {
  protocol?: string | null;
  identity?: ReturnType<typeof agentIdentity>;
  refused?: string;
}

/** One handshake in which both ends verify each other. */
async function meet(t: TestContext, present: Pair, client: tls.ConnectionOptions): Promise<Meeting> {
  // The server lets TLS verify and refuses by itself, since a refusal by Node is a closed socket without a reason.
  const options = { ...present, ca: one.ca.certPem, requestCert: true, rejectUnauthorized: false } as const;
  const listener = tls.createServer({ ...options, minVersion: 'TLSv1.3' }, (socket) => {
    const peer = socket.getPeerX509Certificate();
    const met = { protocol: socket.getProtocol(), identity: peer && agentIdentity(peer) };
    socket.on('error', () => socket.destroy());
    socket.end(JSON.stringify(socket.authorized ? met : { refused: String(socket.authorizationError) }));
  });
  listener.on('tlsClientError', (_, socket) => socket.destroy());
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  const trust = { ca: one.ca.certPem, servername: INTERNAL_SERVER_NAME };
  const socket = tls.connect({ port, host: '127.0.0.1', ...trust, ...client });
  t.after(() => socket.destroy());
  try {
    let text = '';
    for await (const chunk of socket) text += chunk;
    return JSON.parse(text);
  } catch (error) {
    return { refused: (error as NodeJS.ErrnoException).code ?? String(error) };
  }
}

test('agent and server meet by mutual TLS 1.3, whatever address is dialled', async (t) => {
  const met = { protocol: 'TLSv1.3', identity: { installationId: one.installationId, hostId } };
  assert.deepEqual(await meet(t, server, agent), met);
  assert.deepEqual(await meet(t, server, await agentOf(one, rsa(2048))), met);
});

test('the server is also known by its public hosts', async (t) => {
  assert.ok((await meet(t, server, { ...agent, servername: 'localhost' })).identity);
  const byAddress = {
    ...agent,
    servername: '',
    checkServerIdentity: (_: string, peer: tls.PeerCertificate) => tls.checkServerIdentity('127.0.0.1', peer),
  };
  assert.ok((await meet(t, server, byAddress)).identity);
  assert.match((await meet(t, server, { ...agent, servername: 'elsewhere' })).refused ?? '', /ALTNAME_INVALID/);
});

test("an agent's certificate is no server's, and a server's is no agent's", async (t) => {
  const unnamed = { ...agent, checkServerIdentity: () => undefined };
  assert.match((await meet(t, agent, unnamed)).refused ?? '', /INVALID_PURPOSE|unsupported/);
  assert.match((await meet(t, server, server)).refused ?? '', /INVALID_PURPOSE|unsupported/);
});

test('strangers and certificates of another CA are refused', async (t) => {
  const other = await testCa();
  assert.match((await meet(t, server, {})).refused ?? '', /peer did not return|UNABLE_TO_GET_ISSUER_CERT/);
  assert.match((await meet(t, server, await agentOf(other))).refused ?? '', /UNABLE_TO_/);
  assert.match((await meet(t, await serverOf(other), agent)).refused ?? '', /UNABLE_TO_/);
});

test('an expired certificate is refused', async (t) => {
  const old = await agentOf(one, p256(), clockAt(Date.now() - 31 * DAY_MS));
  assert.match((await meet(t, server, old)).refused ?? '', /CERT_HAS_EXPIRED/);
});
