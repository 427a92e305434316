/** By what an agent that listens is known: a request, and the token with it, goes to no other. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import dns from 'node:dns';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { before, test } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { type AgentAddress, Connections } from '../../../../../server/hawser/standard/connections.ts';
import { addressOf, checkSettings } from '../../../../../server/hawser/standard/settings.ts';
import { StandardTransport } from '../../../../../server/hawser/standard/standard-transport.ts';
import { systemClock as clock } from '../../../../../shared/clock.ts';
import { FakeClock } from '../../../../support/fake-clock.ts';
import { type StandardAgent, standardAgent } from '../../../../support/hawser-standard-agent.ts';
import { type Cleanup, defer, fileCleanup } from '../../../../support/tmp.ts';
import { waitFor } from '../../../../support/wait.ts';
import { testCa } from '../../../certs/fixtures.ts';

const cleanup = fileCleanup();
let agent: StandardAgent;
let caPem: string;
let certPem: string;
let otherCa: string;

before(async () => {
  const [{ ca }, other] = await Promise.all([testCa(), testCa()]);
  const issued = await ca.issueServer({ publicHosts: ['127.0.0.1'], clock });
  [caPem, certPem, otherCa] = [ca.certPem, issued.certPem, other.ca.certPem];
  const tls = { key: issued.keyPem, cert: issued.certPem };
  agent = await standardAgent(cleanup, { token: 'secret', docker: '/nowhere', tls });
});

const pin = () => new X509Certificate(certPem).fingerprint256.replaceAll(':', '').toLowerCase();

/** What the agent says of itself to whoever dials it so. */
async function look(scope: Cleanup, more: Partial<AgentAddress>): Promise<number> {
  const address = { url: new URL(agent.url), token: 'secret', ...more };
  const transport = new StandardTransport({ connections: new Connections({ address, clock }), clock });
  defer(scope, async () => transport.close('SHUTDOWN', 'the test is over'));
  return (await transport.ask({ method: 'GET', path: '/_hawser/info' })).status;
}

test('the CA that was given is trusted, and no other', async (t) => {
  assert.equal(await look(t, { ca: caPem }), 200);
  const asked = agent.asked.length;
  await assert.rejects(look(t, { ca: otherCa }), { code: 'HOST_OFFLINE', message: /certificate/ });
  await assert.rejects(look(t, {}), { code: 'HOST_OFFLINE', message: /certificate/ });
  assert.equal(agent.asked.length, asked);
});

test('a pinned certificate is trusted whoever signed it, and no other is shown anything', async (t) => {
  assert.equal(await look(t, { pin: pin() }), 200);
  const asked = agent.asked.length;
  const wrong = look(t, { pin: '0'.repeat(64) });
  await assert.rejects(wrong, { code: 'HOST_OFFLINE', message: new RegExp(`not the one.*sha256:${pin()}`) });
  assert.equal(agent.asked.length, asked);
});

/** A proxy that tunnels to the agent; `bytes` is what is sent into the tunnels, `frozen` ones lead nowhere. */
async function aProxy(scope: Cleanup, tls?: ServerOptions) {
  const seen = {
    asked: [] as string[],
    bytes: [] as Buffer[],
    sockets: new Set<Duplex>(),
    frozen: false,
    refuses: false,
  };
  const proxy = tls === undefined ? createServer() : createTlsServer(tls);
  proxy.on('connect', (request, client) => {
    seen.asked.push(`${request.url} ${request.headers['proxy-authorization']}`);
    seen.sockets.add(client);
    client.on('error', () => undefined).once('close', () => seen.sockets.delete(client));
    if (seen.refuses) return void client.end('HTTP/1.1 407 No\r\n\r\n');
    client.on('data', (chunk: Buffer) => seen.bytes.push(chunk));
    client.once('end', () => client.end());
    if (seen.frozen) return void client.write('HTTP/1.1 200 OK\r\n\r\n');
    const upstream = connect(agent.port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on('error', () => client.destroy());
    client.on('close', () => upstream.destroy());
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  defer(scope, async () => {
    for (const socket of seen.sockets) socket.destroy();
    proxy.closeAllConnections();
    proxy.close();
  });
  const { port } = proxy.address() as AddressInfo;
  return { seen, url: `${tls === undefined ? 'http' : 'https'}://u:p@127.0.0.1:${port}/` };
}

test('a proxy passes on what it cannot read, and says so when it does not', async (t) => {
  const { seen, url } = await aProxy(t);
  const way = { proxy: url, ca: caPem };
  assert.equal(await look(t, way), 200);
  assert.deepEqual(seen.asked, [`127.0.0.1:${agent.port} Basic ${Buffer.from('u:p').toString('base64')}`]);
  seen.refuses = true;
  await assert.rejects(look(t, way), { code: 'HOST_OFFLINE', message: /proxy did not let/ });
  const wrong = { ...way, pin: '0'.repeat(64), ca: undefined };
  seen.refuses = false;
  await assert.rejects(look(t, wrong), { code: 'HOST_OFFLINE', message: /not the one/ });
});

test('a proxy of TLS is not taken for the agent: it is shown no token, and not what is wanted of the agent', async (t) => {
  const { ca } = await testCa();
  const { keyPem: key, certPem: cert } = await ca.issueServer({ publicHosts: ['127.0.0.1'], clock });
  const trusted = getCACertificates('default');
  setDefaultCACertificates([...trusted, ca.certPem]);
  defer(t, async () => setDefaultCACertificates(trusted));
  const { seen, url } = await aProxy(t, { key, cert });
  assert.equal(await look(t, { proxy: url, ca: caPem }), 200);
  assert.equal(await look(t, { proxy: url, pin: pin() }), 200);
  assert.equal(seen.asked.length, 2);
  const sent = Buffer.concat(seen.bytes);
  assert.ok(sent.byteLength > 0 && !sent.includes('secret') && !sent.includes('X-Hawser-Token'));
  const asked = agent.asked.length;
  const ofProxy = new X509Certificate(cert).fingerprint256.replaceAll(':', '').toLowerCase();
  await assert.rejects(look(t, { proxy: url, pin: ofProxy }), { code: 'HOST_OFFLINE', message: /not the one/ });
  assert.equal(agent.asked.length, asked);
});

test('a tunnel behind which nobody speaks TLS is given up in time, and with the host', async (t) => {
  const { seen, url } = await aProxy(t);
  seen.frozen = true;
  const late = new FakeClock();
  const address = { url: new URL(agent.url), token: 'secret', ca: caPem, proxy: url };
  const dial = () => {
    const transport = new StandardTransport({ connections: new Connections({ address, clock: late }), clock: late });
    const answer = transport.ask({ method: 'GET', path: '/_hawser/info' });
    answer.catch(() => undefined);
    return { transport, answer };
  };
  const given = dial();
  await waitFor('the hello of TLS', () => seen.bytes.length > 0);
  late.advance(10_000);
  await assert.rejects(given.answer, { code: 'HOST_OFFLINE', message: /no connection within 10 s/ });
  await waitFor('the end of the tunnel', () => seen.sockets.size === 0);
  seen.bytes.length = 0;
  const left = dial();
  await waitFor('the hello of TLS', () => seen.bytes.length > 0);
  left.transport.close('SHUTDOWN', 'the host is left');
  await assert.rejects(left.answer);
  await waitFor('the end of the tunnel', () => seen.sockets.size === 0);
  given.transport.close('SHUTDOWN', 'the test is over');
});

test('nothing that listens is told from what breaks', async (t) => {
  await assert.rejects(look(t, { url: new URL('https://127.0.0.1:1') }), { code: 'HOST_OFFLINE', message: /refused/ });
  const plain = look(t, { url: new URL(agent.url.replace('https', 'http')) });
  await assert.rejects(plain, { code: 'STREAM_INTERRUPTED' });
});

test('settings are refused that would give something away', () => {
  const asked = { url: 'https://nas:2376', token: 'secret' };
  assert.deepEqual(checkSettings(asked).secrets, { token: 'secret' });
  const colons = new X509Certificate(certPem).fingerprint256;
  assert.equal(checkSettings({ ...asked, pin: colons }).settings.pin, `sha256:${pin()}`);
  const refused: [object, RegExp][] = [
    [{ url: 'http://nas:2375' }, /in clear/],
    [{ url: 'ftp://nas' }, /url is not valid/],
    [{ url: 'https://nas/?token=x' }, /no query/],
    [{ url: 'https://[::ffff:169.254.169.254]/' }, /credentials/],
    [{ token: 'two words' }, /token/],
    [{ token: 'x\r\ny' }, /token/],
    [{ ca: 'no PEM' }, /PEM/],
    [{ ca: caPem, pin: pin() }, /ca or pin/],
    [{ pin: 'sha256:00' }, /64 hex/],
    [{ proxy: 'socks5://p:1' }, /proxy is not valid/],
    [{ proxy: 'http://169.254.169.254:3128' }, /no proxy .*credentials/],
    [{ proxy: 'https://[fd00:ec2::254]' }, /no proxy .*credentials/],
    [{ url: 'http://nas:2375', insecureHttp: true, proxy: 'http://p:1' }, /read the token/],
  ];
  for (const [more, message] of refused)
    assert.throws(() => checkSettings({ ...asked, ...more }), { code: 'VALIDATION', message });
});

test('a proxy that was allowed once is not dialled where clouds hand out credentials, nor is a name that leads there', async (t) => {
  const { settings, secrets } = checkSettings({ url: 'https://nas:2376', token: 'secret', proxy: 'http://p:1' });
  assert.equal(addressOf(settings, secrets).proxy, 'http://p:1/');
  const stored = { ...secrets, proxy: 'http://169.254.169.254/' };
  assert.throws(() => addressOf(settings, stored), { code: 'VALIDATION', message: /no proxy/ });
  await assert.rejects(look(t, { proxy: 'http://no-such-proxy.invalid/' }), { code: 'HOST_OFFLINE' });
  const there = [{ address: '169.254.169.254', family: 4 }];
  t.mock.method(dns, 'lookup', (_name: string, _options: object, done: (error: null, found: object[]) => void) =>
    setImmediate(done, null, there),
  );
  for (const proxy of ['http://proxy.test:3128/', 'https://proxy.test:3128/'])
    await assert.rejects(look(t, { proxy }), { code: 'VALIDATION', message: /no proxy .*proxy\.test .*credentials/ });
});
