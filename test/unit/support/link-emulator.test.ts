import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Link, LinkEmulator, type LinkOptions } from '../../support/link-emulator.ts';
import { startLink } from '../../support/link-emulator-process.ts';
import { type Cleanup, defer } from '../../support/tmp.ts';

const FAST = { rate: Number.POSITIVE_INFINITY, delayMs: 0 };

interface Ends {
  link: Link;
  /** A connection through the link, and what accepted it. */
  connect(): Promise<{ client: Socket; target: Socket }>;
}

async function start(
  cleanup: Cleanup,
  options: Omit<LinkOptions, 'port'>,
  run: (options: LinkOptions) => Promise<Link> = LinkEmulator.start,
): Promise<Ends> {
  const server = createServer({ allowHalfOpen: true, noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const link: Link = await run({ ...options, port: (server.address() as AddressInfo).port });
  defer(cleanup, () => server.close());
  defer(cleanup, () => link.close());
  return {
    link,
    async connect() {
      const accepted = once(server, 'connection') as Promise<[Socket]>;
      const client = createConnection({ port: link.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
      const [target] = await accepted;
      for (const end of [client, target]) {
        end.on('error', () => undefined); // a link that is cut
        defer(cleanup, () => end.destroy());
      }
      return { client, target };
    },
  };
}

/** All that comes until the other end has said that it is all. */
async function everything(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (data: Buffer) => chunks.push(data)).resume();
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

test('bytes arrive whole, in order and both ways, and so does the end of each way', async (t) => {
  const { connect } = await start(t, { rate: 40_000_000, delayMs: 2 });
  const { client, target } = await connect();
  const [there, back] = [randomBytes(2_000_000), randomBytes(1_000_000)];
  client.end(there);
  assert.ok((await everything(target)).equals(there));
  target.end(back);
  assert.ok((await everything(client)).equals(back));
});

test('a rate is never exceeded, and each way has its own', async (t) => {
  const { connect } = await start(t, { ...FAST, toTarget: { rate: 1_000_000 } });
  const { client, target } = await connect();
  const bytes = Buffer.alloc(300_000);
  const from = performance.now();
  client.end(bytes);
  await everything(target);
  assert.ok(performance.now() - from >= 300 * 0.97);
});

test('each way takes its delay', async (t) => {
  const { connect } = await start(t, { ...FAST, delayMs: 30, fromTarget: { delayMs: 50 } });
  const { client, target } = await connect();
  const from = performance.now();
  client.write('ping');
  await once(target, 'data');
  const there = performance.now() - from;
  target.write('pong');
  await once(client, 'data');
  const back = performance.now() - from - there;
  assert.ok(there >= 29 && back >= 49, `${there} ms there and ${back} ms back`);
});

test('a change holds for a connection that is open', async (t) => {
  const { link, connect } = await start(t, { rate: 10_000, delayMs: 0 });
  const { client, target } = await connect();
  const from = performance.now();
  // 100 s at the rate of the start.
  client.end(Buffer.alloc(1_000_000));
  await once(target, 'readable');
  await link.set({ rate: 10_000_000 });
  assert.equal((await everything(target)).byteLength, 1_000_000);
  assert.ok(performance.now() - from < 50_000);
});

test('a frozen link passes nothing on and stops reading; thawed, it passes on everything', async (t) => {
  const { link, connect } = await start(t, FAST);
  const { client, target } = await connect();
  await link.freeze();
  const sent = 48 * 1024 * 1024;
  const chunk = Buffer.alloc(64 * 1024, 7);
  for (let bytes = 0; bytes < sent; bytes += chunk.byteLength) client.write(chunk);
  client.end();
  let got = 0;
  target.on('data', (data: Buffer) => {
    got += data.byteLength;
  });
  await sleep(150);
  assert.equal(got, 0);
  // The queue is 64 KiB; the kernel holds some MiB.
  assert.ok(client.writableLength > sent / 2, `${client.writableLength} bytes wait at the sender`);
  await link.thaw();
  await once(target, 'end');
  assert.equal(got, sent);
});

test('a reader that stops reading stops the sender', async (t) => {
  const { connect } = await start(t, FAST);
  const { client, target } = await connect();
  target.pause();
  const sent = 48 * 1024 * 1024;
  const chunk = Buffer.alloc(64 * 1024, 7);
  for (let bytes = 0; bytes < sent; bytes += chunk.byteLength) client.write(chunk);
  client.end();
  await sleep(150);
  assert.ok(client.writableLength > sent / 4, `${client.writableLength} bytes wait at the sender`);
  assert.equal((await everything(target)).byteLength, sent);
});

test('a cut ends both ends and what was on its way; the link takes new connections', async (t) => {
  const { link, connect } = await start(t, { ...FAST, delayMs: 10_000 });
  const { client, target } = await connect();
  let got = 0;
  target.on('data', () => {
    got += 1;
  });
  client.resume().write('lost');
  const closed = Promise.all([once(client, 'end'), once(target, 'end')]);
  await sleep(20);
  await link.cut();
  await closed;
  assert.equal(got, 0);
  await link.set({ delayMs: 0 });
  const again = await connect();
  again.client.end('here');
  assert.equal((await everything(again.target)).toString(), 'here');
});

test('one end that breaks takes the other with it', async (t) => {
  const { connect } = await start(t, FAST);
  const { client, target } = await connect();
  const closed = once(target, 'close');
  target.resume();
  target.end();
  client.resetAndDestroy();
  await closed;
});

test('a link in a process of its own obeys as one in this process', async (t) => {
  const { link, connect } = await start(t, { rate: 1_000, delayMs: 0 }, startLink);
  const { client, target } = await connect();
  await link.freeze();
  client.write(Buffer.alloc(100_000));
  await link.set(FAST);
  let got = 0;
  target.on('data', (data: Buffer) => {
    got += data.byteLength;
  });
  await sleep(30);
  assert.equal(got, 0);
  await link.thaw();
  while (got < 100_000) await once(target, 'data');
  await assert.rejects(link.set({ rate: 0 }), /the link failed: RangeError/);
  const closed = Promise.all([once(client.resume(), 'end'), once(target, 'end')]);
  await link.cut();
  await closed;
  await link.close();
  await assert.rejects(link.thaw(), /the link failed: its process ended/);
});
