import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { before, type TestContext, test } from 'node:test';
import * as tls from 'node:tls';
import { agentIdentity, INTERNAL_SERVER_NAME } from '../../../certs/names.ts';
import { privateKeyPem } from '../../../certs/native.ts';
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

async function agentOf(to: TestCa, keys = p256(), clock: Clock = systemClock): Promise<Pair> {
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

/** What each end made of the other; `failure` is the server's or the client's error. */
interface Meeting {
  protocol?: string | null;
  identity?: ReturnType<typeof agentIdentity>;
  failure?: string;
}

/** One mutual TLS handshake and one byte each way. */
async function meet(t: TestContext, present: Pair, client: tls.ConnectionOptions): Promise<Meeting> {
  const options = {
    ...present,
    ca: one.ca.certPem,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  } as const;
  const listener = tls.createServer(options, (socket) => {
    const peer = socket.getPeerX509Certificate();
    const identity = peer && agentIdentity(peer);
    socket.on('error', () => socket.destroy());
    socket.end(JSON.stringify({ protocol: socket.getProtocol(), identity }));
  });
  const refusals: string[] = [];
  listener.on('tlsClientError', (error) => refusals.push(String(error)));
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    ca: one.ca.certPem,
    servername: INTERNAL_SERVER_NAME,
    ...client,
  });
  t.after(() => socket.destroy());
  try {
    let text = '';
    for await (const chunk of socket) text += chunk;
    return text === '' ? { failure: refusals.join() || 'closed' } : JSON.parse(text);
  } catch (error) {
    return { failure: `${(error as NodeJS.ErrnoException).code} ${refusals.join()}` };
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
  assert.match((await meet(t, server, { ...agent, servername: 'elsewhere' })).failure ?? '', /ALTNAME_INVALID/);
});

test("an agent's certificate is no server's, and a server's is no agent's", async (t) => {
  assert.match(
    (await meet(t, agent, { ...agent, checkServerIdentity: () => undefined })).failure ?? '',
    /PURPOSE|purpose/,
  );
  assert.match((await meet(t, server, server)).failure ?? '', /certificate|purpose|verif/i);
});

test('strangers and certificates of another CA are refused', async (t) => {
  const other = await testCa();
  assert.ok((await meet(t, server, {})).failure);
  assert.ok((await meet(t, server, await agentOf(other))).failure);
  assert.ok((await meet(t, await serverOf(other), agent)).failure);
});

test('an expired certificate is refused', async (t) => {
  const old = await agentOf(one, p256(), clockAt(Date.now() - 31 * DAY_MS));
  assert.match((await meet(t, server, old)).failure ?? '', /expired/i);
});
