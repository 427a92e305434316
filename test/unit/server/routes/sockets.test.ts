/** No connection outlives its use, whatever its client leaves undone: each of these clients never closes its own end. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createCa, openCa } from '../../../../certs/authority.ts';
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { MAX_CONNECTIONS } from '../../../../server/routes/limits.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { as, fixture, listen } from './fakes.ts';

const EXEC = '/api/v1/hosts/edge-1/containers/web/exec';
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';

async function serving(t: TestContext, overrides: Partial<ApiDeps> = {}) {
  const clock = new FakeClock();
  const never = new Promise<never>(() => undefined);
  const made = await fixture({ answers: { 'container.exec.open': () => never }, overrides: { clock, ...overrides } });
  const { port } = new URL(await listen(made));
  const clients: Socket[] = [];
  t.after(() => {
    for (const client of clients) client.destroy();
    return made.api.close();
  });
  /** Sends `text` and reads, but keeps its end open. */
  const halfOpen = (text: string) => {
    const socket = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
    clients.push(socket);
    socket.on('error', () => undefined);
    let received = '';
    socket.on('data', (chunk) => {
      received += String(chunk);
    });
    socket.write(text);
    const ended = new Promise<string>((resolve) => {
      for (const event of ['end', 'close']) socket.once(event, () => resolve(received));
    });
    return { socket, ended };
  };
  const open = () => new Promise<number>((resolve) => made.api.server.getConnections((_, count) => resolve(count)));
  const gone = () => waitFor('the connections to be gone', async () => (await open()) === 0, { timeoutMs: 3000 });
  return { ...made, clock, open, gone, halfOpen };
}

for (const [name, text, status] of [
  ['a refused upgrade', `GET ${EXEC}?cmd=x HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n`, 401],
  ['an upgrade to nowhere', `GET /nowhere HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n`, 404],
  ['an upgrade of an ordinary route', `GET /healthz HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n`, 200],
  ['what is no HTTP', 'hello?\r\n\r\n', 400],
] as const) {
  test(`${name} holds no connection for longer than a second`, async (t) => {
    const { clock, open, gone, halfOpen } = await serving(t);
    const clients = Array.from({ length: 5 }, () => halfOpen(text));
    for (const { ended } of clients) assert.match(await ended, new RegExp(`^HTTP/1.1 ${status} `));
    assert.equal(await open(), 5, 'the clients have not closed');
    clock.advance(1_000);
    await gone();
  });

  test(`${name}: a client that closes need not wait`, async (t) => {
    const { gone, halfOpen } = await serving(t);
    const { socket, ended } = halfOpen(text);
    await ended;
    // Whatever it still says.
    socket.end('more');
    await gone();
  });
}

test('an upgrade that is never answered is given up', async (t) => {
  const { clock, host, gone, halfOpen } = await serving(t);
  const handshake = `${UPGRADE}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${'A'.repeat(22)}==\r\n`;
  const authorization = `Authorization: ${as('operator').authorization}\r\n`;
  halfOpen(`GET ${EXEC}?cmd=x HTTP/1.1\r\nHost: x\r\n${authorization}${handshake}\r\n`);
  const asked = await waitFor('the host to be asked', () => host.asked[0]);
  clock.advance(60_000);
  await gone();
  assert.equal((await asked.stream.wasReset.promise).code, 'CANCELLED');
});

test('a TLS handshake that does not go on holds no connection', async (t) => {
  const ca = openCa(
    await createCa({ installationId: '00000000-0000-4000-8000-000000000000', clock: new FakeClock(), bits: 2048 }),
  );
  const { certPem, keyPem } = await ca.issueServer({ publicHosts: ['localhost'], clock: new FakeClock() });
  const { clock, open, halfOpen } = await serving(t, { https: { cert: certPem, key: keyPem, handshakeTimeout: 300 } });
  halfOpen('\x16\x03\x01');
  await waitFor('the connection', async () => (await open()) === 1);
  await waitFor('the connection to be gone', async () => {
    clock.advance(1_000);
    return (await open()) === 0;
  });
});

test('connections are bounded, and those that are dropped are counted in the log', async (t) => {
  const { api, clock, open, log, halfOpen } = await serving(t);
  assert.equal(api.server.maxConnections, MAX_CONNECTIONS);
  api.server.maxConnections = 2;
  for (let i = 1; i <= 2; i++) {
    halfOpen('');
    await waitFor('a connection', async () => (await open()) === i);
  }
  for (let i = 0; i < 3; i++) await halfOpen('').ended;
  clock.advance(60_000);
  const line = log.find((each) => each.includes('dropped connections'));
  assert.equal(JSON.parse(line ?? '{}').connections, 3);
});
