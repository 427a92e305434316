/** A server behind a TCP balancer: both ports take the caller's address from its PROXY header, and nobody without one. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { launch } from '../support/launcher.ts';
import { type Runtime, serverArgs } from '../support/mesh.ts';
import { proxyHeader } from '../support/proxy-header.ts';
import { type Cleanup, defer, tempDir } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const CALLER = '203.0.113.9';

/** A connection as the balancer makes it, or as somebody does who reaches the port past it. */
async function dial(t: Cleanup, url: string, header?: Buffer): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  defer(t, () => socket.destroy());
  await once(socket, 'connect');
  if (header !== undefined) socket.write(header);
  return socket;
}

async function secured(socket: Socket): Promise<TLSSocket> {
  const tls = connectTls({ socket, rejectUnauthorized: false, servername: 'localhost' });
  tls.on('error', () => undefined); // the agents' port ends it, since there is no certificate
  await within(10_000, 'the handshake', once(tls, 'secureConnect'));
  return tls;
}

async function get(t: Cleanup, url: string, path: string, token: string): Promise<{ status: number; body: string }> {
  const tls = await secured(await dial(t, url, proxyHeader(CALLER, 4711)));
  tls.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`);
  const answer = await within(10_000, 'the answer', text(tls));
  return { status: Number(answer.slice(9, 12)), body: answer.slice(answer.indexOf('\r\n\r\n') + 4) };
}

test('with --proxy-protocol both ports know the caller, and take nobody who comes without a header', async (t) => {
  const dataDir = join(await tempDir(t, 'proxy'), 'data');
  const server = launch(t, 'server', serverArgs(dataDir, { args: ['--proxy-protocol', '127.0.0.1'] }));
  const { apiUrl, agentUrl } = await waitFor(
    'a ready server',
    async () => JSON.parse(await readFile(join(dataDir, 'runtime.json'), 'utf8')) as Runtime,
    { timeoutMs: 30_000, context: () => server.transcript() },
  );
  const token = (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim();
  assert.equal((await get(t, apiUrl, '/api/v1/hosts', `${token.slice(0, -8)}AAAAAAAA`)).status, 401);
  (await secured(await dial(t, agentUrl, proxyHeader(CALLER, 4712)))).end();
  for (const url of [apiUrl, agentUrl]) await assert.rejects(dial(t, url).then(secured), url);

  const { status, body } = await get(t, apiUrl, '/api/v1/audit?limit=100&result=refused', token);
  assert.equal(status, 200, body);
  const rows: { action: string; address: string }[] = JSON.parse(body.slice(body.indexOf('{'))).items;
  assert.deepEqual(
    rows.map(({ action, address }) => [action, address]),
    [['login', CALLER]],
  );
});
