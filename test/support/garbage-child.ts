/**
 * Throws garbage at both ports of a server for some time, as a program of its own. Its one argument is a JSON of
 * `GarbageOptions`; at its end it prints how often it threw what.
 */
import { createHash, randomBytes, randomInt } from 'node:crypto';
import net from 'node:net';
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { encode } from '@msgpack/msgpack';
import { WebSocket } from 'ws';
import { encodePem } from '../../certs/pem.ts';
import { encodeFrame } from '../../shared/mux/frame.ts';
import type { GarbageOptions } from './garbage.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as GarbageOptions;
const until = performance.now() + options.ms;
const thrown: Record<string, number> = {};
/** How long one throw may hold its connection. */
const HOLD_MS = 250;
const PAUSE_MS = 2;

/** Another address than that of whoever measures: what is limited by address must not limit the measurement. */
const from = () => `127.0.0.${randomInt(2, 7)}`;

async function settled(socket: net.Socket | tls.TLSSocket): Promise<void> {
  socket.resume().on('error', () => socket.destroy());
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await Promise.race([closed, sleep(HOLD_MS)]);
  socket.destroy();
}

function plain(port: number, bytes: Buffer): Promise<void> {
  const socket = net.connect({ host: '127.0.0.1', port, localAddress: from() });
  socket.once('connect', () => socket.write(bytes));
  return settled(socket);
}

function overTls(port: number, bytes: Buffer, more: tls.ConnectionOptions = {}): Promise<void> {
  const raw = net.connect({ host: '127.0.0.1', port, localAddress: from() });
  raw.on('error', () => raw.destroy());
  const socket = tls.connect({ socket: raw, rejectUnauthorized: false, ...more });
  socket.once('secureConnect', () => socket.write(bytes));
  return settled(socket);
}

/** A record of TLS that says it is a ClientHello and is noise. */
function clientHello(): Buffer {
  const body = randomBytes(randomInt(1, 600));
  return Buffer.concat([Buffer.of(0x16, 3, 1, body.length >> 8, body.length & 0xff), body]);
}

function post(path: string, body: string | Buffer, headers = ''): Buffer {
  const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n${headers}\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

function request(csr: string, token = options.token): string {
  return JSON.stringify({ token, csr, hostname: 'x', os: 'linux', arch: 'x64', agentVersion: '1' });
}

/** The token with one character changed and a checksum that is right again. */
function forged(): string {
  const bytes = Buffer.from(options.token.slice(5), 'base64url');
  const place = 32 + randomInt(32);
  bytes.writeUInt8(bytes.readUInt8(place) ^ randomInt(1, 256), place);
  const body = bytes.subarray(0, -4);
  const sum = createHash('sha256').update('fle1').update(body).digest().subarray(0, 4);
  return `fle1.${Buffer.concat([body, sum]).toString('base64url')}`;
}

/** As an enrolled agent, whose frames are nonsense. */
async function asAgent(): Promise<void> {
  const ws = new WebSocket(`wss://127.0.0.1:${options.agentPort}/agent`, 'fairlead.v1', {
    ...options.agent,
    rejectUnauthorized: false,
    localAddress: from(),
    perMessageDeflate: false,
  });
  ws.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => ws.once('close', () => resolve()));
  ws.once('open', () => {
    ws.send(
      encodeFrame(1, 0, 0, randomBytes(1)[0] === 0 ? encode(options.hello) : encode(options.hello).fill(0xdd, 40)),
    );
    ws.send(encodeFrame(randomInt(0x10000), randomInt(10), randomInt(16), randomBytes(randomInt(4000))));
    ws.send(Buffer.alloc(2_000, 0x91));
  });
  await Promise.race([closed, sleep(HOLD_MS)]);
  ws.terminate();
}

const KINDS: Record<string, () => Promise<void>> = {
  'noise to the API': () => plain(options.apiPort, randomBytes(randomInt(1, 2_000))),
  'noise to the agent port': () => plain(options.agentPort, randomBytes(randomInt(1, 2_000))),
  'a ClientHello to the API': () => plain(options.apiPort, clientHello()),
  'a ClientHello to the agent port': () => plain(options.agentPort, clientHello()),
  'noise under TLS': () => overTls(options.apiPort, randomBytes(randomInt(1, 70_000))),
  'agent port without a certificate': () => overTls(options.agentPort, randomBytes(100)),
  'a deep body': () => overTls(options.apiPort, post('/api/v1/enroll', '['.repeat(60_000))),
  'a large CSR': () => overTls(options.apiPort, post('/api/v1/enroll', request('x'.repeat(50_000)))),
  'a CSR of noise': () =>
    overTls(options.apiPort, post('/api/v1/enroll', request(encodePem('CERTIFICATE REQUEST', randomBytes(10_000))))),
  'a nested CSR': () =>
    overTls(
      options.apiPort,
      post('/api/v1/enroll', request(encodePem('CERTIFICATE REQUEST', Buffer.alloc(8_000, 0x30)))),
    ),
  'a forged token': () => overTls(options.apiPort, post('/api/v1/enroll', request(options.csr, forged()))),
  'a wrong bearer': () =>
    overTls(
      options.apiPort,
      post('/api/v1/hosts/x/ping', '{}', `authorization: Bearer ${randomBytes(90).toString('base64url')}\r\n`),
    ),
  'nonsense from an agent': asAgent,
};

async function worker(): Promise<void> {
  const names = Object.keys(KINDS);
  while (performance.now() < until) {
    const name = names[randomInt(names.length)] ?? '';
    await KINDS[name]?.();
    thrown[name] = (thrown[name] ?? 0) + 1;
    await sleep(PAUSE_MS);
  }
}

// It stands for another machine, so it leaves the server's cores to the server where both want them.
os.setPriority(os.constants.priority.PRIORITY_BELOW_NORMAL);
await Promise.all(Array.from({ length: options.atOnce }, worker));
process.stdout.write(JSON.stringify(thrown));
