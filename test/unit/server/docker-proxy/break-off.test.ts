/** How a connection that HTTP has handed over is broken off: its other end has an error, over TLS as well, and no end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { breakOff } from '../../../../server/docker-proxy/break-off.ts';
import { systemClock as clock } from '../../../../shared/clock.ts';
import { defer } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { testCa } from '../../certs/fixtures.ts';

/** Both ends of a connection that was upgraded. */
async function upgraded(t: TestContext, isTls: boolean) {
  const { ca } = await testCa();
  const { keyPem: key, certPem: cert } = await ca.issueServer({ publicHosts: ['127.0.0.1'], clock });
  const server = isTls ? createTlsServer({ key, cert }) : createServer();
  const upgrade = once(server, 'upgrade');
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const where = { host: '127.0.0.1', port };
  const client: Socket = isTls ? connectTls({ ...where, ca: ca.certPem }) : connect(where);
  const seen: string[] = [];
  client
    .on('data', () => undefined)
    .on('error', (error: NodeJS.ErrnoException) => seen.push(error.code ?? ''))
    .on('end', () => seen.push('end'))
    .on('close', () => seen.push('close'));
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
  const [request, stream] = await upgrade;
  defer(t, async () => {
    client.destroy();
    stream.destroy();
    server.close();
  });
  return { client, stream, socket: request.socket, seen };
}

for (const isTls of [false, true]) {
  test(`a connection ${isTls ? 'of TLS' : 'without TLS'} is reset`, async (t) => {
    const { stream, socket, seen } = await upgraded(t, isTls);
    await new Promise((resolve) => stream.write('whole', resolve));
    breakOff(stream, socket);
    await waitFor('the end', () => seen.includes('close'));
    assert.deepEqual(seen, ['ECONNRESET', 'close']);
    await waitFor('the end of the other side', () => socket.destroyed);
    breakOff(stream, socket);
  });

  test(`one ${isTls ? 'of TLS' : 'without TLS'} that its other end has broken off can be broken off`, async (t) => {
    const { client, stream, socket } = await upgraded(t, isTls);
    stream.on('error', () => undefined);
    client.destroy();
    breakOff(stream, socket);
    await waitFor('its end', () => socket.destroyed && stream.destroyed);
  });
}
