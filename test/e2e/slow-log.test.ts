/** A log over a WebSocket and an emulated slow link: compressed by what the session measures itself, and identical. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { WS_OPTIONS, wsTransport } from '../../shared/mux/ws-transport.ts';
import { LinkEmulator } from '../support/link-emulator.ts';
import { logKind, type MuxPair, readAll, readyOver } from '../support/mux.ts';

const KIB = 1024;
/** 8 Mbit/s. */
const RATE = 1_000_000;
const DELAY_MS = 5;

const server = http.createServer();
const sockets = new WebSocketServer({ server, ...WS_OPTIONS });
let link: LinkEmulator;

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  link = await LinkEmulator.start({ port: (server.address() as AddressInfo).port, rate: RATE, delayMs: DELAY_MS });
});

after(async () => {
  for (const socket of sockets.clients) socket.terminate();
  await link.close();
  sockets.close();
  server.close();
});

function text(bytes: number): Buffer {
  let lines = '';
  for (let n = 0; lines.length < bytes; n += 1) {
    lines += `{"time":"2026-01-01T00:00:${n % 60}.${n % 1000}Z","level":"info","msg":"job ${n} took ${(n * 7919) % 1000} ms"}\n`;
  }
  return Buffer.from(lines.slice(0, bytes));
}

/** What the agent answers to each log, sent in odd pieces. */
const LOG = Buffer.concat([text(600 * KIB), randomBytes(200 * KIB), text(600 * KIB)]);

async function connect(compression: boolean): Promise<MuxPair> {
  const arrival = once(sockets, 'connection') as Promise<[WebSocket]>;
  const agent = new WebSocket(`ws://127.0.0.1:${link.port}/`, WS_OPTIONS);
  await once(agent, 'open');
  const [socket] = await arrival;
  return await readyOver(
    { server: wsTransport(socket), agent: wsTransport(agent) },
    {
      compression,
      onAgent(stream) {
        stream.sendReply({});
        for (let at = 0; at < LOG.byteLength; at += 10_007) stream.bytes.write(LOG.subarray(at, at + 10_007));
        stream.finish();
      },
    },
  );
}

test('a log on a slow link travels compressed and arrives as it was', async () => {
  const pair = await connect(true);
  const stream = pair.server.open(logKind, {});
  assert.ok((await readAll(stream.bytes)).equals(LOG));
  assert.equal(await stream.closed, undefined);
  const { bytesIn, inflated } = pair.server.stats;
  assert.ok(inflated.raw > LOG.byteLength / 3, `${inflated.raw} bytes came compressed`);
  assert.ok(inflated.packed < inflated.raw / 2);
  assert.ok(bytesIn < LOG.byteLength * 0.75, `${bytesIn} bytes on the wire`);
  assert.deepEqual(pair.agent.stats.deflated, inflated);
});

test('where the greeting did not agree on it, the same log travels as it is', async () => {
  const pair = await connect(false);
  assert.ok((await readAll(pair.server.open(logKind, {}).bytes)).equals(LOG));
  assert.equal(pair.server.stats.inflated.packed, 0);
  assert.ok(pair.server.stats.bytesIn > LOG.byteLength);
});
