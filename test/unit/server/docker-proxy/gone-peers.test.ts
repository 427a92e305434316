/** Docker's clients that are gone are told from those whose input has ended, whenever their end came. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:https';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { INTERNAL_SERVER_NAME } from '../../../../certs/names.ts';
import { GonePeers } from '../../../../server/docker-proxy/gone-peers.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { defer } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { testCa } from '../../certs/fixtures.ts';

const DOCKER = 'Docker-Client/28.2.2 (linux)';
const LOOK_MS = 2_000;

/** Both ends of a connection that was upgraded, and what carries TLS at the client: its end is not passed on with that of TLS. */
async function upgraded(t: TestContext, servername = 'localhost') {
  const { ca } = await testCa();
  const { keyPem: key, certPem: cert } = await ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  const server = createServer({ key, cert, allowHalfOpen: true });
  const upgrade = once(server, 'upgrade');
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const tcp = connectTcp((server.address() as AddressInfo).port, '127.0.0.1');
  const carrier = new Duplex({ read: () => undefined, write: (chunk, _encoding, done) => void tcp.write(chunk, done) });
  tcp.on('data', (chunk) => carrier.push(chunk));
  let tickets = 0;
  const client = connect({ socket: carrier, servername, ca: ca.certPem }).resume();
  // What it has not read would have its connection reset in place of ended.
  client.on('session', () => tickets++);
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
  const [request, stream] = await upgrade;
  await waitFor('the tickets of TLS', () => tickets === 2);
  for (const end of [tcp, client, stream]) end.on('error', () => undefined);
  defer(t, async () => {
    for (const end of [tcp, client, stream]) end.destroy();
    server.close();
  });
  return { client, kill: () => tcp.destroy(), stream, socket: request.socket };
}

/** Watches a client. @returns whether it is seen to be gone, each time after one more look */
function watched(t: TestContext, { stream, socket }: Awaited<ReturnType<typeof upgraded>>, userAgent = DOCKER) {
  const clock = new FakeClock();
  let isGone = false;
  const unwatch = new GonePeers(clock).watch(stream, socket, userAgent, () => {
    isGone = true;
  });
  defer(t, async () => unwatch());
  return async () => {
    await waitFor('a look', () => isGone || clock.pendingTimers > 0);
    clock.advance(LOOK_MS);
    return isGone;
  };
}

test('a client that was gone before anybody watched is seen to be gone', async (t) => {
  const ends = await upgraded(t);
  ends.kill();
  await waitFor('its end', () => ends.stream.readableEnded);
  await waitFor('that it is seen', watched(t, ends));
});

test('so is one whose connection was reset meanwhile, and is in no table', async (t) => {
  const ends = await upgraded(t);
  ends.kill();
  await waitFor('its end', () => ends.stream.readableEnded);
  ends.stream.write('a head that nobody takes');
  await waitFor('that it is seen', watched(t, ends));
});

test('a client that goes while it is watched is seen to be gone', async (t) => {
  const ends = await upgraded(t);
  const isGone = watched(t, ends);
  ends.stream.resume();
  ends.kill();
  await waitFor('that it is seen', isGone);
});

test('a client that has ended its input by TLS, and reads on, is there', async (t) => {
  const ends = await upgraded(t);
  ends.stream.resume();
  const isGone = watched(t, ends);
  ends.client.end();
  await once(ends.stream, 'end');
  for (let look = 0; look < 5; look++) assert.equal(await isGone(), false);
});

test('of a client behind a proxy that ends TLS nothing is told: the proxy closes both, too, when its client has ended its input', async (t) => {
  const { stream, socket, kill } = await upgraded(t, INTERNAL_SERVER_NAME);
  const clock = new FakeClock();
  const unwatch = new GonePeers(clock).watch(stream, socket, DOCKER, () => assert.fail('it was taken for gone'));
  defer(t, async () => unwatch());
  stream.resume();
  kill();
  await once(stream, 'end');
  assert.equal(clock.pendingTimers, 0, 'it is not looked at');
});
