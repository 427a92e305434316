/** `forward`: what it listens at, what it asks for, and what becomes of connections. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { before, type TestContext, test } from 'node:test';
import type { WebSocket } from 'ws';
import { parseForward } from '../../../../server/cli/commands/forward.ts';
import { waitFor } from '../../../support/wait.ts';
import { type FakeApi, fakeApi, fakeIo, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

interface Forwarding {
  readonly ports: readonly number[];
  readonly err: () => string;
  readonly out: () => string;
  stop(): Promise<number>;
}

/** A host that lets connections be made to what `allow` names. */
function host(allow: readonly string[] = ['full', 'tcp.open'], more: object = {}): object {
  const policy = { allow, deny: ['tcp:*:22'] };
  return { ...{ id: 'i', name: 'shed', state: 'online', capabilities: ['tcp.open'], policy }, ...more };
}

async function hostApi(t: TestContext): Promise<FakeApi> {
  const api = await fakeApi(t, identity);
  api.on('GET /api/v1/hosts/h', () => host());
  return api;
}

/** Runs the command until it is stopped. */
async function forwarding(t: TestContext, api: FakeApi, ...args: string[]): Promise<Forwarding> {
  const io = fakeIo({});
  const done = runAgainst(api, ['forward', 'h', ...args], { io });
  t.after(() => io.kill());
  const specs = args.filter((arg) => /^\d/.test(arg)).length;
  const lines = await waitFor('the ports', () => {
    const found = [...io.out().matchAll(/127\.0\.0\.1:(\d+)/g)];
    return found.length === specs ? found : undefined;
  });
  return {
    ports: lines.map(([, port]) => Number(port)),
    err: io.err,
    out: io.out,
    async stop() {
      io.kill();
      return (await done).code;
    },
  };
}

async function client(port: number | undefined): Promise<Socket> {
  const socket = createConnection({ port: port ?? 0, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

/** Echoes, and ends each half as the client ends its own. */
function echo(socket: WebSocket): void {
  socket.on('message', (data: Buffer, isBinary) => {
    socket.send(data, { binary: isBinary });
    if (!isBinary) socket.close(1000);
  });
}

test('each connection goes on as one of its own, to its end', async (t) => {
  const api = await hostApi(t);
  const asked: string[] = [];
  api.onSocket((socket, url) => {
    asked.push(url.pathname + url.search);
    echo(socket);
  });
  const { ports, out, err, stop } = await forwarding(t, api, '0:db:5432', '0:8080');
  assert.match(out(), /^127\.0\.0\.1:\d+ -> shed db:5432\n127\.0\.0\.1:\d+ -> shed port 8080\n$/);
  const much = 'x'.repeat(3_000_000);
  const sent = [ports[0], ports[0], ports[1]].map(async (port, at) => {
    const socket = await client(port);
    socket.end(`${at}${much}`);
    assert.equal(await text(socket), `${at}${much}`);
  });
  await Promise.all(sent);
  const ofDb = '/api/v1/hosts/h/tcp?container=db&port=5432';
  assert.deepEqual(asked.toSorted(), [ofDb, ofDb, '/api/v1/hosts/h/tcp?port=8080']);
  assert.equal(await stop(), 0);
  assert.equal(err(), '');
});

test('what is refused, or breaks off, is told, and the others go on', async (t) => {
  const api = await hostApi(t);
  let count = 0;
  api.onSocket((socket) => {
    count += 1;
    if (count === 2) return echo(socket);
    socket.send(JSON.stringify({ error: { code: 'STREAM_INTERRUPTED', detail: 'it\u001b[31m broke off' } }));
    socket.close(1011);
  });
  const { ports, err, stop } = await forwarding(t, api, '0:db:5432');
  const broken = await client(ports[0]);
  const [error] = await once(broken.resume(), 'error');
  assert.equal(error.code, 'ECONNRESET', 'it is broken off here as well, not ended');
  await waitFor('the report', () => err().includes('(STREAM_INTERRUPTED)'));
  assert.match(err(), /^fairlead: 127\.0\.0\.1:\d+: it.\[31m broke off \(STREAM_INTERRUPTED\)\n$/);
  assert.ok(!err().includes('\u001b'));
  const good = await client(ports[0]);
  good.end('hello');
  assert.equal(await text(good), 'hello');
  assert.equal(await stop(), 0);
});

test('a client that leaves ends the connection at the server; the end of the command, all of them', async (t) => {
  const api = await hostApi(t);
  const sockets: WebSocket[] = [];
  api.onSocket((socket) => sockets.push(socket));
  const { ports, err, stop } = await forwarding(t, api, '0:db:5432');
  const leaving = await client(ports[0]);
  await waitFor('the connection', () => sockets.length === 1);
  leaving.resetAndDestroy();
  await once(sockets[0] ?? assert.fail(), 'close');
  const staying = await client(ports[0]);
  staying.on('error', () => undefined).resume();
  await waitFor('the other', () => sockets.length === 2);
  const broken = new Promise((resolve) => staying.once('close', resolve));
  const ended = Promise.all([once(sockets[1] ?? assert.fail(), 'close'), broken]);
  assert.equal(await stop(), 0);
  await ended;
  assert.equal(err(), '');
});

test('a port that is taken, and a host that is not there, are told at once', async (t) => {
  const api = await hostApi(t);
  const { ports, stop } = await forwarding(t, api, '0:db:5432');
  const taken = await runAgainst(api, ['forward', 'h', `${ports[0]}:db:1`]);
  assert.deepEqual(
    [taken.code, taken.err],
    [1, `fairlead: cannot listen at 127.0.0.1:${ports[0]}: something listens there already\n`],
  );
  await stop();
  const nowhere = await runAgainst(api, ['forward', 'nowhere', '0:db:1']);
  assert.equal(nowhere.code, 1);
  assert.equal(nowhere.out, '');
});

test("what the host's policy denies is told before anybody connects; if that is all, nothing is listened at", async (t) => {
  const api = await hostApi(t);
  const only = await runAgainst(api, ['forward', 'h', '0:db:22']);
  assert.deepEqual([only.code, only.out], [1, '']);
  assert.match(
    only.err,
    /^fairlead: this host's policy does not allow .* port 22 of the container db; .* \(DENIED_BY_HOST\)\n$/,
  );
  const some = await forwarding(t, api, '0:db:22', '0:db:5432');
  assert.match(some.err(), /port 22 of the container db.* \(DENIED_BY_HOST\)/);
  assert.equal(await some.stop(), 0);

  // By its own name it may be reached, and one that nobody tells of may be, too.
  api.on('GET /api/v1/hosts/h', () => host(['full', 'tcp:db:5432']));
  api.on('GET /api/v1/hosts/i/containers/abc', () => ({ Name: '/db' }));
  assert.equal(await (await forwarding(t, api, '0:abc:5432')).stop(), 0);
  api.on('GET /api/v1/hosts/i/containers/dark', (_seen, response) => problem(response, 403, 'DENIED_BY_HOST', 'no'));
  assert.equal(await (await forwarding(t, api, '0:dark:5432')).stop(), 0);
  api.on('GET /api/v1/hosts/i/containers/other', () => ({ Name: '/other' }));
  const other = await runAgainst(api, ['forward', 'h', '0:other:5432', '0:8080']);
  assert.match(other.err, /--allow tcp:other:5432 [\s\S]*--allow tcp:host:8080 /);

  api.on('GET /api/v1/hosts/h', () => host(['full', 'tcp.open'], { capabilities: [] }));
  assert.match((await runAgainst(api, ['forward', 'h', '0:db:1'])).err, /shed serves no connections .*\(UNSUPPORTED\)/);
  api.on('GET /api/v1/hosts/h', () => host([], { capabilities: [] }));
  assert.match((await runAgainst(api, ['forward', 'h', '0:db:1'])).err, /--allow tcp:db:1 .*\(DENIED_BY_HOST\)/);
  api.on('GET /api/v1/hosts/h', () => host([], { state: 'offline', capabilities: [], policy: null }));
  assert.equal(await (await forwarding(t, api, '0:db:5432')).stop(), 0);
});

test('a forward is LOCALPORT:CONTAINER:PORT or LOCALPORT:PORT, and nothing else', () => {
  assert.deepEqual(parseForward('15432:db:5432'), { localPort: 15_432, container: 'db', port: 5432 });
  assert.deepEqual(parseForward('0:80'), { localPort: 0, container: undefined, port: 80 });
  for (const wrong of [
    '80',
    'db:80',
    '70000:80',
    '80:0',
    '80:70000',
    '80::80',
    '80:a/b:80',
    '80:a:b:80',
    '-1:80',
    '',
  ]) {
    assert.throws(() => parseForward(wrong), { exitCode: 2 }, wrong);
  }
});
