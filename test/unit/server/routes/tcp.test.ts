/** A connection to a port over a real WebSocket: both halves, refusals as HTTP answers, and every way in which it ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { TCP_CONNECTIONS } from '../../../../server/routes/limits.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import type { FakeStream } from './fake-host.ts';
import { as, type Fixture, fixture, listen } from './fakes.ts';

const TCP = '/api/v1/hosts/edge-1/tcp';

interface Running extends Fixture {
  url: string;
  stream(): FakeStream;
}

async function running(t: TestContext): Promise<Running> {
  const made = await fixture({ answers: { 'tcp.open': () => ({}) } });
  const url = (await listen(made)).replace('http', 'ws');
  t.after(() => made.api.close());
  return { ...made, url, stream: () => made.host.asked.at(-1)?.stream ?? assert.fail('the host was not asked') };
}

/** A client that keeps what it gets. */
async function connect(url: string, role: Role = 'operator') {
  const socket = new WebSocket(url, { headers: as(role), perMessageDeflate: false });
  const got = { bytes: '', controls: [] as Record<string, unknown>[] };
  socket.on('message', (data, isBinary) => {
    if (isBinary) got.bytes += String(data);
    else got.controls.push(JSON.parse(String(data)));
  });
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await once(socket, 'open');
  return { socket, got, closed, control: (value: unknown) => socket.send(JSON.stringify(value)) };
}

/** The code of the HTTP answer that refuses an upgrade. */
async function refusal(url: string, headers: Record<string, string> = as('operator')): Promise<unknown> {
  const socket = new WebSocket(url, { headers });
  socket.on('error', () => undefined);
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
  const body = await text(response);
  socket.terminate();
  return JSON.parse(body).code;
}

test('bytes go both ways, each half ends by itself, and then comes the close', async (t) => {
  const { url, stream, host, audit } = await running(t);
  const client = await connect(`${url}${TCP}?container=db&port=5432`);
  client.socket.send(Buffer.from('question'));
  client.control({ end: true });
  assert.equal(await text(stream().input), 'question');
  stream().output.end('answer');
  assert.equal(await client.closed, 1000);
  assert.deepEqual(client.got, { bytes: 'answer', controls: [{ end: true }] });
  assert.deepEqual(host.asked[0]?.params, { container: 'db', port: 5432 });
  const row = audit.find(({ action }) => action === 'tcp.open');
  assert.deepEqual([row?.target, row?.detail], ['edge-1/db:5432', { container: 'db', port: 5432 }]);
  assert.equal(stream().resetWith, undefined);
});

test('the far half may end first: the near one goes on', async (t) => {
  const { url, stream, audit } = await running(t);
  const client = await connect(`${url}${TCP}?port=80`);
  stream().output.end('bye');
  while (client.got.controls.length === 0) await once(client.socket, 'message');
  client.socket.send(Buffer.from('still here'));
  client.control({ end: true });
  assert.equal(await text(stream().input), 'still here');
  assert.equal(await client.closed, 1000);
  assert.equal(audit.find(({ action }) => action === 'tcp.open')?.target, 'edge-1:80');
});

test('refusals are HTTP answers on the upgrade', async (t) => {
  const { url, host } = await running(t);
  const at = `${url}${TCP}`;
  assert.equal(await refusal(`${at}?port=80`, as('viewer')), 'FORBIDDEN');
  for (const query of ['', '?port=0', '?port=65536', '?port=x', '?port=80&container=..%2Fx', '?port=80&host=other']) {
    assert.equal(await refusal(at + query), 'VALIDATION', query);
  }
  assert.deepEqual(host.asked, []);
  for (const code of ['DENIED_BY_HOST', 'CONNECTION_REFUSED', 'TIMEOUT'] as const) {
    host.answers['tcp.open'] = () => Promise.reject(new FairleadError(code, 'no'));
    assert.equal(await refusal(`${at}?port=80`), code);
  }
});

test('a connection that breaks off is told, and never looks like an end', async (t) => {
  const { url, stream } = await running(t);
  const client = await connect(`${url}${TCP}?port=80`);
  client.control({ end: true });
  stream().output.write('half');
  stream().interrupt(new FairleadError('STREAM_INTERRUPTED', 'it broke off'));
  assert.equal(await client.closed, 1011);
  const detail = 'it broke off; it may have been done all the same: look before you repeat it';
  assert.deepEqual(client.got.controls, [{ error: { code: 'STREAM_INTERRUPTED', detail, repeat: 'unknown' } }]);
});

test('a client that leaves, or says what it should not, breaks it off', async (t) => {
  const { url, stream } = await running(t);
  const left = await connect(`${url}${TCP}?port=80`);
  left.socket.terminate();
  assert.equal((await stream().wasReset.promise).code, 'CANCELLED');
  for (const message of ['hello', '{"resize":{"cols":1,"rows":1}}', '{"end":true,"x":1}', 'null']) {
    const wrong = await connect(`${url}${TCP}?port=80`);
    wrong.socket.send(message);
    assert.equal(await wrong.closed, 4400, message);
    assert.equal((await stream().wasReset.promise).code, 'VALIDATION');
  }
});

test('a revoked token ends its connections', async (t) => {
  const { url, stream, revokeToken } = await running(t);
  const client = await connect(`${url}${TCP}?port=80`);
  revokeToken('id-operator');
  assert.equal(await client.closed, 4401);
  assert.equal((await stream().wasReset.promise).code, 'UNAUTHORIZED');
});

test('a host has so many at once; one that has ended makes room', async (t) => {
  const { url, stream } = await running(t);
  const at = `${url}${TCP}?port=80`;
  const clients = [];
  for (let i = 0; i < TCP_CONNECTIONS.ofHost; i++) clients.push(await connect(at));
  assert.equal(await refusal(at), 'OVERLOADED');
  const last = stream();
  clients.at(-1)?.socket.terminate();
  await last.wasReset.promise;
  const next = await connect(at);
  for (const { socket } of [...clients, next]) socket.terminate();
});
