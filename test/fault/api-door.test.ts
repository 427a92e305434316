/** The API's port from outside: what says nothing, says it slowly or says too much costs it little and nobody else anything. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import https from 'node:https';
import net, { type Socket } from 'node:net';
import { before, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { parseBalancers } from '../../server/doors/balancers.ts';
import { HANDSHAKE_LIMITS, PROXY_HEADER_MS } from '../../server/doors/limits.ts';
import type { ApiDeps } from '../../server/routes/deps.ts';
import { systemClock } from '../../shared/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LOCAL_HEADER, proxyHeader } from '../support/proxy-header.ts';
import { waitFor, within } from '../support/wait.ts';
import { testCa } from '../unit/certs/fixtures.ts';
import { frame } from '../unit/server/routes/fake-host.ts';
import { as, type FixtureOptions, fixture, listen } from '../unit/server/routes/fakes.ts';

/** Short enough to wait for. */
const TIMES = { handshakeMs: 400, headersMs: 400, requestMs: 800, checkMs: 50 };
/** Well beyond all of them together, on a busy machine too. */
const LIMIT_MS = 5_000;

let pair: { key: string; cert: string };
let ca: string;

before(async () => {
  const own = await testCa();
  const { keyPem, certPem } = await own.ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  pair = { key: keyPem, cert: certPem };
  ca = own.ca.certPem;
});

async function serving(t: TestContext, overrides: Partial<ApiDeps> = {}, answers?: FixtureOptions['answers']) {
  const given = { https: pair, requestTimes: TIMES, ...overrides };
  const made = await fixture({ overrides: given, ...(answers === undefined ? {} : { answers }) });
  const port = Number(new URL(await listen(made)).port);
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return made.api.close();
  });
  const track = <S extends Socket>(socket: S): S => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    return socket;
  };
  return {
    ...made,
    port,
    raw: (localAddress = '127.0.0.1') => track(net.connect({ port, host: '127.0.0.1', localAddress })),
    secure: (options: tls.ConnectionOptions = {}) =>
      track(tls.connect({ port, host: '127.0.0.1', ca, servername: 'localhost', ...options })),
    open: () => new Promise<number>((resolve) => made.api.server.getConnections((_, count) => resolve(count))),
  };
}

/** All that comes until the other end closes. */
async function untilClosed(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => {
    text += String(chunk);
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once('close', () => resolve());
  if (!socket.destroyed) await within(LIMIT_MS, 'the end of the connection', promise);
  return text;
}

function statusOf(port: number, options: https.RequestOptions = {}): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  https
    .get(
      { port, host: '127.0.0.1', path: '/healthz', ca, servername: 'localhost', agent: false, ...options },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      },
    )
    .on('error', reject);
  return promise;
}

test('a connection that says nothing, or half a ClientHello, is closed', async (t) => {
  const { raw } = await serving(t);
  const silent = raw();
  const half = raw();
  half.write(Buffer.from('1603010200010001fc0303', 'hex'));
  const both = await Promise.all([untilClosed(silent), untilClosed(half)]);
  for (const text of both) assert.doesNotMatch(text, /^HTTP/, 'no plain text is sent to whoever speaks TLS');
});

test('TLS without a request, and headers that trickle, are answered 408 and closed', async (t) => {
  const { secure } = await serving(t);
  const silent = secure();
  const slow = secure();
  await Promise.all([once(silent, 'secureConnect'), once(slow, 'secureConnect')]);
  slow.write('GET /healthz HTTP/1.1\r\nHost: x\r\n');
  const trickle = setInterval(() => slow.write('x: y\r\n'), 50);
  t.after(() => clearInterval(trickle));
  for (const text of await Promise.all([untilClosed(silent), untilClosed(slow)])) {
    assert.match(text, /^HTTP\/1\.1 408 /);
    assert.match(text, /"code":"REQUEST_TIMEOUT"/);
  }
});

test('a body that trickles is cut off, whether it was refused already or not', async (t) => {
  const { secure } = await serving(t);
  const head = (token: string) =>
    `POST /api/v1/enrollment-tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n` +
    'Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{';
  const slow = [secure(), secure()];
  slow[0]?.write(head('admin'));
  slow[1]?.write(head('wrong'));
  const trickle = setInterval(() => {
    for (const one of slow) one.write(' ');
  }, 50);
  t.after(() => clearInterval(trickle));
  const [unread, refused] = await Promise.all(slow.map(untilClosed));
  assert.match(unread ?? '', /^HTTP\/1\.1 408 /);
  assert.match(refused ?? '', /^HTTP\/1\.1 401 /);
  assert.doesNotMatch(refused ?? '', / 408 /, 'one answer, not two');
});

test('a stream, a WebSocket and an idle kept connection outlive all of these times', async (t) => {
  const answers = { 'container.log.stream': () => ({}), 'container.exec.open': () => ({}) };
  const { port, secure, host } = await serving(t, {}, answers);
  const stream = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    const path = '/api/v1/hosts/edge-1/containers/web/logs?follow=1';
    const options = { port, host: '127.0.0.1', path, ca, servername: 'localhost', agent: false as const };
    https.get({ ...options, headers: as('viewer') }, resolve).on('error', reject);
  });
  t.after(() => stream.destroy());
  const socket = secure();
  const handshake = `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n`;
  const head = `Host: x\r\nAuthorization: Bearer operator\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${handshake}\r\n`;
  socket.write(`GET /api/v1/hosts/edge-1/containers/web/exec?cmd=x HTTP/1.1\r\n${head}`);
  const [first] = await once(socket, 'data');
  assert.match(String(first), /^HTTP\/1\.1 101 /);
  const kept = secure();
  kept.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(kept, 'data');
  // Past the longest of them, and the look that would find it.
  await new Promise((resolve) => setTimeout(resolve, TIMES.requestMs + TIMES.headersMs + 10 * TIMES.checkMs));
  host.asked[0]?.stream.output.write(frame(1, 'still here\n'));
  const [chunk] = await within(LIMIT_MS, 'a line of the log', once(stream, 'data'));
  assert.ok(String(chunk).length > 0);
  assert.equal(socket.destroyed, false);
  kept.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(String((await within(LIMIT_MS, 'a second answer', once(kept, 'data')))[0]), /^HTTP\/1\.1 200 /);
});

test('one address can hold so many connections without a request and no more, and keeps nobody else out', async (t) => {
  const { port, raw, open } = await serving(t, { requestTimes: { ...TIMES, handshakeMs: 60_000 } });
  const flood = Array.from({ length: HANDSHAKE_LIMITS.perAddress + 100 }, () => raw('127.0.0.2').resume());
  const dropped = () => flood.filter((socket) => socket.destroyed).length;
  // Those that wait for their turn give up after a while, and are fewer then.
  await waitFor('as many as one address may have', async () => (await open()) === HANDSHAKE_LIMITS.perAddress);
  await waitFor('what is too much to be dropped', () => dropped() >= 100);
  assert.equal(await statusOf(port, { localAddress: '127.0.0.3' }), 200);
});

test('the client of openssl gets through', async (t) => {
  const { port } = await serving(t);
  const { promise, resolve } = Promise.withResolvers<string>();
  const args = ['s_client', '-connect', `127.0.0.1:${port}`, '-tls1_2', '-quiet', '-no_ign_eof'];
  const client = execFile('openssl', args, (_error, stdout) => resolve(stdout));
  client.stdin?.write('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  assert.match(await within(LIMIT_MS, 'an answer', promise), /^HTTP\/1\.1 200 /);
});

const BALANCER = { balancers: parseBalancers('--proxy-protocol', ['127.0.0.9', 'fd00::/8']) };

for (const scheme of ['https', 'http'] as const) {
  test(`${scheme} behind a balancer: the sender that it names is who asks`, async (t) => {
    const { raw, audit } = await serving(t, {
      ...BALANCER,
      ...(scheme === 'http' ? { https: undefined as never } : {}),
    });
    /** The audit log's address of a refused login that comes with these bytes before it. */
    const addressAfter = async (header: Buffer | undefined, from: string, pieces = 1): Promise<string | undefined> => {
      const socket = raw(from);
      await once(socket, 'connect');
      if (header !== undefined) {
        const size = Math.ceil(header.byteLength / pieces);
        for (let at = 0; at < header.byteLength; at += size) {
          socket.write(header.subarray(at, at + size));
          if (pieces > 1) await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
      const client = scheme === 'https' ? tls.connect({ socket, ca, servername: 'localhost' }) : socket;
      client.on('error', () => undefined);
      const rows = audit.length;
      client.write('GET /api/v1/hosts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nConnection: close\r\n\r\n');
      await untilClosed(client);
      return audit[rows]?.address;
    };
    assert.equal(await addressAfter(proxyHeader('198.51.100.7', 4711), '127.0.0.9'), '198.51.100.7');
    assert.equal(await addressAfter(proxyHeader('2001:db8::7', 1, Buffer.alloc(99)), '127.0.0.9'), '2001:db8::7');
    assert.equal(await addressAfter(proxyHeader('198.51.100.8', 1), '127.0.0.9', 9), '198.51.100.8', 'in pieces');
    assert.equal(await addressAfter(LOCAL_HEADER, '127.0.0.9'), '127.0.0.9', "the balancer's own");
    assert.equal(await addressAfter(undefined, '127.0.0.1'), '127.0.0.1', 'past the balancer');
    assert.equal(await addressAfter(undefined, '127.0.0.9'), undefined, 'without a header');
    const line = (text: string) => Buffer.from(`PROXY ${text}\r\n`);
    assert.equal(await addressAfter(line('TCP4 192.0.2.1 192.0.2.2 1 2'), '127.0.0.9', 3), '192.0.2.1', 'version 1');
    assert.equal(await addressAfter(line('UNKNOWN'), '127.0.0.9'), '127.0.0.9', 'of no sender');
    assert.equal(await addressAfter(line('TCP4 192.0.2.1'), '127.0.0.9'), undefined, 'a part of a line');
    assert.equal(await addressAfter(proxyHeader('198.51.100.9', 1), '127.0.0.1'), undefined, 'from a stranger');
  });
}

test('a balancer that sends no header is waited for, but not for ever', async (t) => {
  const clock = new FakeClock();
  const { raw, open } = await serving(t, { ...BALANCER, clock });
  const silent = raw('127.0.0.9');
  const half = raw('127.0.0.9');
  half.write(proxyHeader('198.51.100.7', 1).subarray(0, 20));
  await waitFor('both connections', async () => (await open()) === 2);
  clock.advance(PROXY_HEADER_MS - 1);
  assert.equal(await open(), 2);
  clock.advance(1);
  await Promise.all([silent, half].map(untilClosed));
});

test('senders behind one balancer are counted apart', async (t) => {
  const { raw, open } = await serving(t, { ...BALANCER, requestTimes: { ...TIMES, handshakeMs: 60_000 } });
  const from = async (address: string, count: number) => {
    const sockets = Array.from({ length: count }, () => raw('127.0.0.9').resume());
    for (const socket of sockets) socket.write(proxyHeader(address, 1));
    return sockets;
  };
  const flood = await from('198.51.100.7', HANDSHAKE_LIMITS.perAddress + 50);
  await waitFor('what is too much to be dropped', () => flood.filter((socket) => socket.destroyed).length >= 50);
  const others = await from('198.51.100.8', 20);
  await waitFor('the others', async () => (await open()) === HANDSHAKE_LIMITS.perAddress + 20);
  assert.ok(others.every((socket) => !socket.destroyed));
});

test('connections that nobody uses give way: one address cannot hold all of them', async (t) => {
  const connectionPlaces = { total: 40, idleOfAddress: 30, inUseOfOne: 20 };
  const answers = { 'container.log.stream': () => ({}) };
  const { port, secure, host, open } = await serving(t, { connectionPlaces }, answers);
  const path = '/api/v1/hosts/edge-1/containers/web/logs?follow=1';
  const log = secure();
  log.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer viewer\r\n\r\n`);
  await once(log, 'data');
  /** A connection that has had an answer and is kept. */
  const keep = async (localAddress: string): Promise<Socket> => {
    const socket = secure({ localAddress } as tls.ConnectionOptions);
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    return socket;
  };
  const flood: Socket[] = [];
  for (let n = 0; n < 35; n++) flood.push(await keep('127.0.0.2'));
  await waitFor('what is too much of the address to be gone', async () => (await open()) === 31);
  assert.ok(
    flood.slice(0, 5).every((socket) => socket.destroyed),
    'the oldest of its own give way',
  );
  for (let n = 4; n < 24; n++) assert.equal((await keep(`127.0.0.${n}`)).destroyed, false);
  assert.equal(await statusOf(port, { localAddress: '127.0.0.3' }), 200);
  assert.ok((await open()) <= 41);
  host.asked[0]?.stream.output.write(frame(1, 'still here\n'));
  const [chunk] = await within(LIMIT_MS, 'a line of the log', once(log, 'data'));
  assert.ok(String(chunk).length > 0, 'what is in use stays');
});
