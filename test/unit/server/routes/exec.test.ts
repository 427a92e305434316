/** Exec over a real WebSocket: the protocol, refusals as HTTP answers, backpressure, and every way in which it ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { FairleadError } from '../../../../shared/errors.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { type FakeStream, frame } from './fake-host.ts';
import { as, ask, type Fixture, fixture, listen } from './fakes.ts';

const EXEC = '/api/v1/hosts/edge-1/containers/web/exec';

interface Running extends Fixture {
  url: string;
  stream(): FakeStream;
}

async function running(t: TestContext, tty = false): Promise<Running> {
  const made = await fixture({ answers: { 'container.exec.open': () => ({ execId: 'x', tty }) } });
  const url = (await listen(made)).replace('http', 'ws');
  t.after(() => made.api.close());
  const stream = () => {
    const last = made.host.asked.at(-1);
    if (last === undefined) throw new Error('the host was not asked');
    return last.stream;
  };
  return { ...made, url, stream };
}

/** A client that keeps what it gets: bytes as strings, control as objects. */
class Client {
  readonly socket: WebSocket;
  readonly bytes: Buffer[] = [];
  readonly controls: { exit?: { code: number }; error?: { code: string; detail: string } }[] = [];
  readonly closed: Promise<number>;

  constructor(url: string, role: Role = 'operator') {
    this.socket = new WebSocket(url, { headers: as(role), perMessageDeflate: false });
    this.socket.on('message', (data, isBinary) => {
      if (isBinary) this.bytes.push(data as Buffer);
      else this.controls.push(JSON.parse(String(data)));
    });
    this.closed = new Promise((resolve) => this.socket.once('close', (code) => resolve(code)));
  }

  async open(): Promise<this> {
    await once(this.socket, 'open');
    return this;
  }

  control(value: unknown): void {
    this.socket.send(JSON.stringify(value));
  }
}

/** The HTTP answer that refuses an upgrade. */
async function refusal(
  url: string,
  headers: Record<string, string>,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const socket = new WebSocket(url, { headers });
  socket.on('error', () => undefined);
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  socket.terminate();
  assert.match(response.headers['content-type'] ?? '', /^application\/problem\+json/);
  return { status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) };
}

test('bytes go both ways, then comes the exit code', async (t) => {
  const { url, stream, host, audit } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=cat&cmd=-n&env=A%3D1&env=B%3D2&user=root&workdir=%2Ftmp`).open();
  client.socket.send(Buffer.from('in'));
  client.control({ end: true });
  const input: Buffer[] = [];
  for await (const chunk of stream().input) input.push(chunk as Buffer);
  assert.equal(Buffer.concat(input).toString(), 'in');
  stream().output.end(Buffer.concat([frame(1, 'out'), frame(2, 'err')]));
  stream().trailer.resolve({ code: 3 });
  assert.equal(await client.closed, 1000);
  assert.equal(Buffer.concat(client.bytes).toString(), 'outerr');
  assert.deepEqual(client.controls, [{ exit: { code: 3 } }]);
  assert.deepEqual(host.asked[0]?.params, {
    id: 'web',
    cmd: ['cat', '-n'],
    env: ['A=1', 'B=2'],
    user: 'root',
    workdir: '/tmp',
    tty: false,
    stdin: true,
  });
  const row = audit.find(({ action }) => action === 'container.exec');
  assert.deepEqual(row?.detail, { cmd: ['cat', '-n'], tty: false, user: 'root' });
  assert.equal(row?.target, 'edge-1/web');
  assert.equal(stream().resetWith, undefined);
});

test('separate=1 says which stream each frame is of', async (t) => {
  const { url, stream } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=x&separate=1`).open();
  stream().output.end(Buffer.concat([frame(1, 'out'), frame(2, 'err')]));
  stream().trailer.resolve({ code: 0 });
  await client.closed;
  assert.deepEqual(client.bytes.map(String), ['\x01out', '\x02err']);
});

test('a terminal is resized, its first size included', async (t) => {
  const { url, stream, host } = await running(t, true);
  const client = await new Client(`${url}${EXEC}?cmd=sh&tty=1&cols=80&rows=24`).open();
  assert.deepEqual(host.asked[0]?.params['size'], { cols: 80, rows: 24 });
  for (let cols = 100; cols < 150; cols++) client.control({ resize: { cols, rows: 30 } });
  client.socket.send(Buffer.from('x'));
  await once(stream().input, 'readable');
  const last = () => (stream().signals.at(-1) as { resize: { cols: number } } | undefined)?.resize.cols;
  await waitFor('the latest size', () => last() === 149, { timeoutMs: 2_000 });
  assert.ok(stream().signals.length < 10, 'and not every one before');
  stream().output.end('raw');
  stream().trailer.resolve({ code: 0 });
  await client.closed;
  assert.deepEqual(client.bytes.map(String), ['raw']);
});

test('refusals are HTTP answers on the upgrade', async (t) => {
  const { url, host } = await running(t);
  const at = (path: string, headers: Record<string, string> = as('operator')) => refusal(`${url}${path}`, headers);
  assert.deepEqual((await at(`${EXEC}?cmd=x`, {})).body['code'], 'UNAUTHORIZED');
  assert.deepEqual((await at(`${EXEC}?cmd=x`, as('viewer'))).body['code'], 'FORBIDDEN');
  assert.deepEqual((await at(EXEC)).body['code'], 'VALIDATION');
  assert.deepEqual((await at(`${EXEC}?cmd=x&cols=0&rows=1`)).body['code'], 'VALIDATION');
  assert.deepEqual((await at('/api/v1/hosts/none/containers/web/exec?cmd=x')).body['code'], 'HOST_NOT_FOUND');
  const unknown = await at('/nowhere');
  assert.deepEqual([unknown.status, unknown.body['code']], [404, 'NOT_FOUND']);
  assert.deepEqual(host.asked, []);
  host.answers['container.exec.open'] = () => {
    throw new FairleadError('CONTAINER_NOT_FOUND', 'no such container');
  };
  assert.deepEqual((await at(`${EXEC}?cmd=x`)).status, 404);
});

test('a plain request is told to come as a WebSocket', async (t) => {
  const { api, host } = await running(t);
  const answer = await ask(api, { url: `${EXEC}?cmd=x`, headers: as('operator') });
  assert.equal(answer.statusCode, 400);
  assert.match(answer.json().detail, /WebSocket/);
  assert.deepEqual(host.asked, []);
});

test('an upgrade to anything but a WebSocket is a plain request', async (t) => {
  const { url } = await running(t);
  const { port } = new URL(url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  assert.match(Buffer.concat(chunks).toString(), /^HTTP\/1.1 200 /);
});

test('a malformed handshake is refused', async (t) => {
  const { url, host } = await running(t);
  const { port } = new URL(url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.write(
    `GET ${EXEC}?cmd=x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer operator\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  );
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  assert.match(Buffer.concat(chunks).toString(), /^HTTP\/1.1 400 .*"code":"VALIDATION"/s);
  assert.deepEqual(host.asked, []);
});

test('what is no HTTP is answered with a problem', async (t) => {
  const { url } = await running(t);
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.write('hello?\r\n\r\n');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  assert.match(Buffer.concat(chunks).toString(), /^HTTP\/1.1 400 .*"code":"VALIDATION"/s);
});

for (const [name, message] of [
  ['text that is no JSON', 'hello'],
  ['an unknown control', '{"kill":9}'],
  ['an absurd size', '{"resize":{"cols":0,"rows":1}}'],
]) {
  test(`${name} ends the exec with 4400`, async (t) => {
    const { url, stream } = await running(t, true);
    const client = await new Client(`${url}${EXEC}?cmd=sh&tty=1`).open();
    client.socket.send(message ?? '');
    assert.equal(await client.closed, 4400);
    assert.equal(client.controls[0]?.error?.code, 'VALIDATION');
    assert.equal((await stream().wasReset.promise).code, 'VALIDATION');
  });
}

test('a message too large ends the exec', async (t) => {
  const { url, stream } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=cat`).open();
  client.socket.on('error', () => undefined);
  client.socket.send(Buffer.alloc(1024 * 1024 + 1));
  assert.equal(await client.closed, 1009);
  assert.equal((await stream().wasReset.promise).code, 'CANCELLED');
});

test('a client that leaves ends the process', async (t) => {
  const { url, stream } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=cat`).open();
  client.socket.terminate();
  assert.equal((await stream().wasReset.promise).code, 'CANCELLED');
});

test('a client that leaves while its input waits ends the process within a second', async (t) => {
  const { url, stream } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=sleep`).open();
  for (let i = 0; i < 64; i++) client.socket.send(Buffer.alloc(256 * 1024));
  await new Promise((resolve) => setTimeout(resolve, 100));
  client.socket.terminate();
  assert.equal((await within(1000, 'the reset', stream().wasReset.promise)).code, 'CANCELLED');
});

test('an interrupted exec says so and closes with 1011', async (t) => {
  const { url, stream } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=cat`).open();
  stream().interrupt(new FairleadError('STREAM_INTERRUPTED', 'lost'));
  assert.equal(await client.closed, 1011);
  const detail = 'lost; it may have been done all the same: look before you repeat it';
  assert.deepEqual(client.controls, [{ error: { code: 'STREAM_INTERRUPTED', detail, repeat: 'unknown' } }]);
});

test('a revoked token ends its execs with 4401', async (t) => {
  const { url, stream, revokeToken } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=cat`).open();
  revokeToken('id-operator');
  assert.equal(await client.closed, 4401);
  assert.equal(client.controls[0]?.error?.code, 'UNAUTHORIZED');
  assert.equal((await stream().wasReset.promise).code, 'UNAUTHORIZED');
});

test('a revoked token is cut off even if its client does not read', async (t) => {
  const { url, revokeToken, stream } = await running(t, true);
  const client = await new Client(`${url}${EXEC}?cmd=yes&tty=1`).open();
  client.socket.pause();
  stream().output.write(Buffer.alloc(8 * 1024 * 1024));
  await new Promise((resolve) => setTimeout(resolve, 100));
  revokeToken('id-operator');
  await stream().wasReset.promise;
  await new Promise((resolve) => setTimeout(resolve, 700));
  client.socket.resume();
  await within(1000, 'the end', client.closed);
  const received = client.bytes.reduce((sum, { length }) => sum + length, 0);
  assert.ok(received < 8 * 1024 * 1024);
});

test('closing the API ends execs with 1001 and leaves no connection', async (t) => {
  const { url, stream, api } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=cat`).open();
  await api.close();
  assert.equal(await client.closed, 1001);
  assert.equal(client.controls[0]?.error?.code, 'SHUTDOWN');
  assert.equal((await stream().wasReset.promise).code, 'SHUTDOWN');
});

test('an exec that cannot be written down is ended and refused', async (t) => {
  const made = await fixture({
    answers: { 'container.exec.open': () => ({ execId: 'x', tty: false }) },
    overrides: {
      audit: {
        record: () => Promise.reject(new FairleadError('STORE_FULL', 'full')),
        recordOrLog: async () => undefined,
        list: async () => ({ items: [] }),
      },
    },
  });
  t.after(() => made.api.close());
  const url = (await listen(made)).replace('http', 'ws');
  assert.equal((await refusal(`${url}${EXEC}?cmd=x`, as('operator'))).body['code'], 'STORE_FULL');
  assert.equal(made.host.asked[0]?.stream.resetWith?.code, 'CANCELLED');
});

test('a client that does not read holds up the process, and then gets every byte', async (t) => {
  const { url, stream } = await running(t, true);
  const client = await new Client(`${url}${EXEC}?cmd=yes&tty=1`).open();
  client.socket.pause();
  const { output, trailer } = stream();
  const chunk = Buffer.alloc(64 * 1024, 'y');
  const total = 64 * 1024 * 1024;
  let written = 0;
  const writing = (async () => {
    while (written < total) {
      written += chunk.length;
      if (!output.write(chunk)) await once(output, 'drain');
    }
    output.end();
    trailer.resolve({ code: 0 });
  })();
  let before = -1;
  while (written !== before) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.ok(written < total / 2, `${written} bytes were taken in for a client that reads nothing`);
  client.socket.resume();
  await writing;
  assert.equal(await client.closed, 1000);
  assert.equal(
    client.bytes.reduce((sum, { length }) => sum + length, 0),
    total,
  );
});

test('input waits for a process that does not read, and then arrives whole', async (t) => {
  const { url, stream } = await running(t);
  const client = await new Client(`${url}${EXEC}?cmd=cat`).open();
  const total = 16 * 1024 * 1024;
  for (let sent = 0; sent < total; sent += 64 * 1024) client.socket.send(Buffer.alloc(64 * 1024, 'z'));
  client.control({ end: true });
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(client.socket.bufferedAmount > 0, 'the client is held up');
  let received = 0;
  for await (const chunk of stream().input) received += (chunk as Buffer).length;
  assert.equal(received, total);
  stream().output.end();
  stream().trailer.resolve({ code: 0 });
  assert.equal(await client.closed, 1000);
});
