/** Connections to ports of the host, and of containers as an Engine tells of them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { type Clock, systemClock } from '../../../../shared/clock.ts';
import { type ErrorCode, isFairleadError } from '../../../../shared/errors.ts';
import { tcpOpen } from '../../../../shared/messages/tcp.ts';
import type { TcpTarget } from '../../../../shared/tcp-targets.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { defer } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { type Served, serve } from './served.ts';

/** What the fake Engine says of its containers, by the name that is asked for. */
const CONTAINERS: Record<string, object> = {
  web: container('web', { lan: { IPAddress: '127.0.0.1' } }),
  '0123abcd': container('web', { lan: { IPAddress: '127.0.0.1' } }),
  stopped: { ...container('stopped', { lan: { IPAddress: '' } }), State: { Running: false } },
  onhost: container('onhost', { host: { IPAddress: '', GlobalIPv6Address: '' } }),
  odd: container('odd', { a: null, b: { IPAddress: 'localhost' }, c: { IPAddress: 7 }, d: { IPAddress: '127.0.0.1' } }),
  twice: container('twice', { a: { IPAddress: '127.0.0.2' }, b: { IPAddress: '127.0.0.1' } }),
};

function container(name: string, networks: object): object {
  return { Name: `/${name}`, State: { Running: true }, NetworkSettings: { Networks: networks } };
}

async function served(
  t: TestContext,
  permitsTarget?: (target: TcpTarget) => boolean,
  clock: Clock = systemClock,
): Promise<Served> {
  const docker = await fakeDocker(t, ({ url = '' }, response) => {
    const found = CONTAINERS[/^\/containers\/(.+)\/json/.exec(url)?.[1] ?? ''];
    response.statusCode = found === undefined ? 404 : 200;
    response.end(JSON.stringify(found ?? { message: 'No such container: x' }));
  });
  const context = { docker: await engineAt(t, docker.socket, clock), info: { agentVersion: '0' }, log: SILENT };
  return await serve(t, permitsTarget === undefined ? context : { ...context, permitsTarget });
}

/** What listens at 127.0.0.1 and hands its connections over. */
async function listening(t: TestContext, onSocket: (socket: Socket) => unknown): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(t, () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** Reads to the end of one half, which leaves the other. */
async function allOf(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const text = async (stream: Duplex) => String(await allOf(stream));
const all = () => true;
const refusedWith = (code: ErrorCode, what: RegExp) => (error: unknown) =>
  isFairleadError(error, code) && what.test(error.message);

test('bytes go both ways, and each half ends by itself', async (t) => {
  const port = await listening(t, async (socket) => {
    socket.write('first ');
    const said = await text(socket);
    socket.end(`then ${said}`);
  });
  const { stream, done } = (await served(t, all)).open(tcpOpen, { port });
  await stream.reply;
  stream.bytes.end('the end');
  assert.equal(await text(stream.bytes), 'first then the end');
  await done;
  assert.equal(await stream.closed, undefined);
});

test('what listens may end its half first, and is still sent the rest', async (t) => {
  const { promise: received, resolve } = Promise.withResolvers<Buffer>();
  const port = await listening(t, (socket) => {
    socket.end('bye');
    void allOf(socket).then(resolve);
  });
  const { stream, done } = (await served(t, all)).open(tcpOpen, { port });
  assert.equal(await text(stream.bytes), 'bye');
  const much = Buffer.alloc(3_000_000, 'fairlead');
  stream.bytes.end(much);
  assert.ok((await received).equals(much));
  await done;
});

test('a container is reached by its address, whatever the caller calls it, and judged by its own name', async (t) => {
  const port = await listening(t, (socket) => socket.end('hello'));
  const asked: TcpTarget[] = [];
  const host = await served(t, (target) => asked.push(target) > 0);
  for (const name of ['web', '0123abcd', 'odd']) {
    const { stream } = host.open(tcpOpen, { container: name, port });
    stream.bytes.end();
    assert.equal(await text(stream.bytes), 'hello', name);
  }
  assert.deepEqual(
    asked.map((target) => target.container),
    ['web', 'web', 'odd'],
  );
});

test('of several addresses the first that accepts counts', async (t) => {
  const port = await listening(t, (socket) => socket.end('hello'));
  const { stream } = (await served(t, all)).open(tcpOpen, { container: 'twice', port });
  stream.bytes.end();
  assert.equal(await text(stream.bytes), 'hello');
});

test('what the policy does not name is denied, with the entry that would permit it', async (t) => {
  let connections = 0;
  const port = await listening(t, () => connections++);
  for (const policy of [undefined, () => false]) {
    const host = await served(t, policy);
    const onHost = refusedWith('DENIED_BY_HOST', new RegExp(`--allow tcp:host:${port} `));
    await assert.rejects(host.call(tcpOpen, { port }), onHost);
    const inContainer = refusedWith('DENIED_BY_HOST', new RegExp(`--allow tcp:web:${port} `));
    await assert.rejects(host.call(tcpOpen, { container: '0123abcd', port }), inContainer);
  }
  assert.equal(connections, 0);
});

test('what cannot be reached says why', async (t) => {
  const port = await listening(t, () => undefined);
  const host = await served(t, all);
  const refused = refusedWith('CONNECTION_REFUSED', /^port 1 of the host cannot be reached: nothing listens there$/);
  await assert.rejects(host.call(tcpOpen, { port: 1 }), refused);
  const cases: [container: string, code: ErrorCode, what: RegExp][] = [
    ['nothing', 'CONTAINER_NOT_FOUND', /No such container/],
    ['stopped', 'CONFLICT', /the container stopped does not run/],
    ['onhost', 'CONFLICT', /has no network address of its own/],
  ];
  for (const [name, code, what] of cases) {
    await assert.rejects(host.call(tcpOpen, { container: name, port }), refusedWith(code, what));
  }
});

test('a connection that is broken off is an error, and never an end', async (t) => {
  const port = await listening(t, (socket) => {
    socket.write('half');
    socket.once('data', () => socket.resetAndDestroy());
  });
  const { stream } = (await served(t, all)).open(tcpOpen, { port });
  await stream.reply;
  stream.bytes.write('go');
  await assert.rejects(text(stream.bytes), refusedWith('STREAM_INTERRUPTED', /broke off the connection/));
});

test('an opener that leaves breaks the connection off within a second', async (t) => {
  const { promise: broken, resolve } = Promise.withResolvers<unknown>();
  const port = await listening(t, (socket) => {
    socket
      .on('error', resolve)
      .on('end', () => resolve('an end'))
      .resume();
  });
  const { stream, leave, done } = (await served(t, all)).open(tcpOpen, { port });
  await stream.reply;
  stream.bytes.write('some');
  leave();
  const error = await within(1_000, 'the break', broken);
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET');
  await assert.rejects(done, (reason) => isFairleadError(reason, 'CANCELLED'));
});

test('a reader that stops holds up what is connected to, and nothing is lost', async (t) => {
  let written = 0;
  const total = 24 * 1024 * 1024;
  const port = await listening(t, async (socket) => {
    const piece = Buffer.alloc(64 * 1024, 'x');
    for (; written < total; written += piece.length) if (!socket.write(piece)) await once(socket, 'drain');
    socket.end();
  });
  const { stream } = (await served(t, all)).open(tcpOpen, { port });
  await stream.reply;
  stream.bytes.end();
  let before = -1;
  await waitFor('a standstill', () => {
    const stands = written > 0 && written === before;
    before = written;
    return stands;
  });
  assert.ok(written < total, `${written} bytes were taken for a reader that reads nothing`);
  let received = 0;
  for await (const chunk of stream.bytes) received += (chunk as Buffer).length;
  assert.equal(received, total);
});

test('what has ended its own half and takes nothing more is broken off in the end, although its opener is gone', async (t) => {
  const clock = new FakeClock();
  let peer: Socket | undefined;
  const port = await listening(t, (socket) => {
    peer = socket.end('bye');
  });
  // Some of them wait in the stream, others in the socket alone: then the opener's stream has ended well.
  for (const bytes of [5_000_000, 16_000_000]) {
    const { stream, done } = (await served(t, all, clock)).open(tcpOpen, { port });
    await stream.reply;
    assert.equal(await text(stream.bytes), 'bye');
    stream.bytes.end(Buffer.alloc(bytes));
    let failure: unknown;
    done.catch((error: unknown) => {
      failure = error;
    });
    await waitFor('the end', () => {
      clock.advance(60_000);
      return failure !== undefined;
    });
    assert.ok(isFairleadError(failure, 'TIMEOUT'), String(failure));
    const [error] = await once(peer?.resume() ?? assert.fail(), 'error');
    assert.equal(error.code, 'ECONNRESET');
  }
});

test('what has ended its own half has time to take what is sent to it', async (t) => {
  const clock = new FakeClock();
  const { promise: peer, resolve } = Promise.withResolvers<Socket>();
  const port = await listening(t, (socket) => resolve(socket.end('bye')));
  const { stream, done } = (await served(t, all, clock)).open(tcpOpen, { port });
  await stream.reply;
  assert.equal(await text(stream.bytes), 'bye');
  const timers = clock.pendingTimers;
  clock.advance(600_000);
  stream.bytes.end(Buffer.alloc(8_000_000));
  await waitFor('what it has not taken', () => stream.bytes.writableFinished || stream.bytes.writableLength > 0);
  clock.advance(119_000);
  assert.equal((await allOf(await peer)).byteLength, 8_000_000);
  await done;
  assert.ok(clock.pendingTimers < timers, 'nothing is watched any more');
});
