/** A server behind a WebSocket that is gone without a word. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { ApiClient } from '../../../../server/cli/api-client.ts';
import { runExec } from '../../../../server/cli/exec-session.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { fakeIo } from './fixtures.ts';

async function connected(t: TestContext) {
  const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(sockets, 'listening');
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
  });
  const opened = new Promise<WebSocket>((resolve) => sockets.once('connection', resolve));
  const url = new URL(`http://127.0.0.1:${(sockets.address() as AddressInfo).port}`);
  const clock = new FakeClock();
  const api = new ApiClient({ url, trust: { kind: 'loopback' }, token: 'x', clock });
  t.after(() => api.close());
  const client = await api.socket('/exec');
  return { clock, client, server: await opened };
}

test('it is given up once it has sent nothing for 45 s, with an error that says so', async (t) => {
  const { clock, client } = await connected(t);
  const ended = runExec(client, fakeIo({}), { tty: false, stdin: false });
  const told = assert.rejects(
    ended,
    (error) => isFairleadError(error, 'STREAM_INTERRUPTED') && /sent nothing for 45 s/.test(error.message),
  );
  clock.advance(44_000);
  assert.equal(client.readyState, client.OPEN);
  clock.advance(1_000);
  await told;
  assert.equal(clock.pendingTimers, 0);
});

test('while it pings it stays, however little is said', async (t) => {
  const { clock, client, server } = await connected(t);
  for (let minutes = 0; minutes < 3; minutes++) {
    const pinged = once(client, 'ping');
    server.ping();
    await pinged;
    clock.advance(44_000);
    assert.equal(client.readyState, client.OPEN);
  }
  server.send('the end');
  await once(client, 'message');
  server.close(1000);
  const [code] = await once(client, 'close');
  assert.equal(code, 1000);
  assert.equal(clock.pendingTimers, 0, 'nothing is watched any more');
});

test('a client that does not read gives nobody up', async (t) => {
  const { clock, client, server } = await connected(t);
  client.pause();
  server.send('some');
  clock.advance(600_000);
  assert.equal(client.readyState, client.OPEN);
  const message = once(client, 'message');
  client.resume();
  await message;
  client.close();
  await waitFor('the end', () => client.readyState === client.CLOSED);
});
