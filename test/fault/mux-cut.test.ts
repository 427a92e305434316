/** Connections that the network cuts at every byte, and readers and peers that stop, over real sockets. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { systemClock } from '../../shared/clock.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { FRAME_PAYLOAD_BYTES, INITIAL_WINDOW_BYTES, SILENCE_MS } from '../../shared/limits.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { WS_OPTIONS, wsTransport } from '../../shared/mux/ws-transport.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  callKind,
  execKind,
  greet,
  logKind,
  type MuxPair,
  type MuxPairOptions,
  pipeKind,
  readAll,
  sessionsOver,
} from '../support/mux.ts';
import { expectInterrupted } from '../support/mux-faults.ts';
import { waitFor, within } from '../support/wait.ts';

type Direction = 'to the server' | 'to the agent';

/** A TCP relay in front of the server that passes only so many bytes of one direction, then cuts the connection. */
class Relay {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #left = new Map<Direction, number>();
  readonly #passed = new Map<Direction, number>();
  #cut: () => void;

  constructor(client: Socket, upstream: Socket) {
    this.#client = client;
    this.#upstream = upstream;
    this.#cut = () => this.vanish();
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined); // a cut that the other end sees is the point
      socket.on('close', () => this.vanish());
    }
    client.on('data', (bytes: Buffer) => this.#pass('to the server', bytes, upstream));
    upstream.on('data', (bytes: Buffer) => this.#pass('to the agent', bytes, client));
  }

  #pass(direction: Direction, bytes: Buffer, to: Socket): void {
    const left = this.#left.get(direction) ?? Number.POSITIVE_INFINITY;
    const part = bytes.subarray(0, Math.min(left, bytes.byteLength));
    this.#passed.set(direction, (this.#passed.get(direction) ?? 0) + part.byteLength);
    this.#left.set(direction, left - part.byteLength);
    if (left > bytes.byteLength) to.write(part);
    else to.write(part, () => this.#cut());
  }

  passed(direction: Direction): number {
    return this.#passed.get(direction) ?? 0;
  }

  /** Lets so many bytes more pass, then ends both sockets: with a FIN, or at once with a RST. */
  cutAfter(direction: Direction, bytes: number, how: 'fin' | 'rst'): void {
    this.#cut = how === 'rst' ? () => this.vanish() : () => this.#finish();
    this.#left.set(direction, bytes);
    if (bytes === 0) this.#cut();
  }

  #finish(): void {
    this.#client.end();
    this.#upstream.end();
  }

  vanish(): void {
    this.#client.resetAndDestroy();
    this.#upstream.resetAndDestroy();
  }
}

const server = http.createServer();
const sockets = new WebSocketServer({ server, ...WS_OPTIONS });
const relays = net.createServer();
let relayUrl = '';
let neighbour: MuxPair;

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  relays.listen(0, '127.0.0.1');
  await once(relays, 'listening');
  relayUrl = `ws://127.0.0.1:${(relays.address() as AddressInfo).port}/`;
  const answer = (stream: MuxStream) => stream.sendReply(stream.params);
  neighbour = (await connect({ onAgent: answer, onServer: answer })).pair;
});

after(async () => {
  const reply = await neighbour.server.open(callKind, { text: 'still here' }).reply;
  assert.deepEqual(reply, { text: 'still here' });
  await neighbour.server.goaway({ code: 'SHUTDOWN', reason: 'the tests are over' });
  assert.equal(sockets.clients.size, 0, 'no connection is left');
  sockets.close();
  server.close();
  relays.close();
});

interface Connected {
  readonly pair: MuxPair;
  readonly relay: Relay;
  readonly agentWs: WebSocket;
}

/** Two ready sessions whose bytes pass a relay. */
async function connect(options: MuxPairOptions): Promise<Connected> {
  const arrival = once(sockets, 'connection') as Promise<[WebSocket]>;
  const relayed = once(relays, 'connection') as Promise<[Socket]>;
  const agentWs = new WebSocket(relayUrl, WS_OPTIONS);
  const [client] = await relayed;
  const upstream = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  const relay = new Relay(client, upstream);
  await once(agentWs, 'open');
  const [serverWs] = await arrival;
  const ends = {
    server: wsTransport(serverWs, { closeTimeoutMs: 50 }),
    agent: wsTransport(agentWs, { closeTimeoutMs: 50 }),
  };
  const pair = sessionsOver(ends, options);
  await greet(pair);
  return { pair, relay, agentWs };
}

/**
 * Runs an exec and a call. With `to the server` the exec's opener never ends its input, so that its acceptor cannot end
 * cleanly either; with `to the agent` the acceptor waits for that end, which is the last that goes there.
 */
async function answered(direction: Direction, cutAt: number | undefined, how: 'fin' | 'rst') {
  const toAgent = direction === 'to the agent';
  const accepted: MuxStream[] = [];
  const { pair, relay } = await connect({
    onAgent(stream) {
      accepted.push(stream);
      if (stream.kind.code === callKind.code) stream.sendReply({ text: 'answer' });
      else serve(stream as unknown as MuxStream<typeof execKind>, toAgent);
    },
  });
  const before = relay.passed(direction);
  if (cutAt !== undefined) relay.cutAfter(direction, cutAt, how);
  const exec = pair.server.open(execKind, {});
  if (toAgent) exec.bytes.end('some input');
  else exec.bytes.write('some input');
  const call = pair.server.open(callKind, { text: 'question' });
  const results = await within(
    5000,
    `streams cut ${direction} after ${cutAt} bytes by ${how}`,
    Promise.all([outcome(exec.trailer), outcome(call.reply), outcome(readAll(exec.bytes)), exec.closed, call.closed]),
  );
  return { pair, accepted, results, passed: relay.passed(direction) - before };
}

function serve(exec: MuxStream<typeof execKind>, untilEnd: boolean): void {
  const finish = () => {
    exec.bytes.write('some output');
    exec.finish({ code: 0 });
  };
  exec.sendReply({});
  if (!untilEnd) finish();
  else exec.bytes.on('end', finish).resume();
}

async function outcome(promise: Promise<unknown>): Promise<'value' | 'interrupted'> {
  try {
    await promise;
    return 'value';
  } catch (error) {
    assert.ok(isFairleadError(error, 'STREAM_INTERRUPTED'), String(error));
    return 'interrupted';
  }
}

async function expectGone({ server: one, agent }: MuxPair): Promise<void> {
  const ends = await within(5000, 'both ends', Promise.all([one.closed, agent.closed]));
  for (const { code } of ends) assert.equal(code, 'STREAM_INTERRUPTED');
  assert.equal(one.openStreams + agent.openStreams, 0);
}

for (const direction of ['to the server', 'to the agent'] as const) {
  test(`a connection cut after every byte ${direction}: no stream ends cleanly that lost a byte`, async () => {
    const whole = await answered(direction, undefined, 'fin');
    assert.deepEqual(whole.results, ['value', 'value', 'value', undefined, undefined]);
    await whole.pair.server.goaway({ code: 'SHUTDOWN', reason: 'measured' });
    assert.ok(whole.passed > 50 && whole.passed < 1000, `${whole.passed} bytes`);
    for (let cutAt = 0; cutAt < whole.passed; cutAt += 1) {
      for (const how of ['fin', 'rst'] as const) {
        const what = `cut ${direction} after ${cutAt} bytes by ${how}`;
        const { pair, accepted, results } = await answered(direction, cutAt, how);
        await expectGone(pair);
        const [trailer, , bytes, closed] = results;
        assert.ok(results.includes('interrupted'), `${what}: a clean end`);
        assert.equal(trailer === 'value', closed === undefined, `${what}: a clean end comes with its trailer alone`);
        assert.equal(bytes, trailer, `${what}: bytes end as their stream does`);
        for (const stream of accepted) if (stream.kind.code === execKind.code) await expectInterrupted(stream);
      }
    }
  });
}

test('a peer that freezes with its sockets open: silence ends the session, and every stream with it', async () => {
  const clock = new FakeClock();
  const accepted: MuxStream[] = [];
  const { pair, agentWs } = await connect({
    clock,
    onAgent(stream) {
      accepted.push(stream);
      stream.sendReply({});
    },
  });
  const streams = [pipeKind, execKind, logKind].map((kind) => pair.server.open(kind, {}) as unknown as MuxStream);
  await Promise.all(streams.map((stream) => stream.reply));
  pair.server.startLiveness(SILENCE_MS);
  agentWs.pause();
  for (const stream of streams.slice(0, 2)) stream.bytes.write(Buffer.alloc(INITIAL_WINDOW_BYTES * 2));
  clock.advance(SILENCE_MS - 1);
  assert.equal(pair.server.draining, false);
  clock.advance(1);
  const end = await within(2000, 'the end', pair.server.closed);
  assert.equal(end.code, 'TIMEOUT');
  assert.equal(end.by, 'local');
  for (const stream of streams) await expectInterrupted(stream);
  agentWs.resume();
  await within(2000, 'the end at the agent', pair.agent.closed);
  for (const stream of accepted) await expectInterrupted(stream);
  assert.equal(clock.pendingTimers, 0);
});

test('a reader that stops: its stream holds at its window, a hundred others run on, and memory stays bounded', async () => {
  const chunk = Buffer.alloc(FRAME_PAYLOAD_BYTES, 1);
  const { pair } = await connect({
    onAgent(stream) {
      stream.sendReply({});
      if (stream.kind.code === logKind.code) {
        // As much as ever fits: a source that only heeds what `write` says.
        const fill = () => {
          while (!stream.bytes.destroyed && stream.bytes.write(chunk));
        };
        stream.bytes.on('drain', fill);
        fill();
      } else stream.bytes.pipe(stream.bytes);
    },
  });
  const stopped = Array.from({ length: 8 }, () => pair.server.open(logKind, {}));
  await Promise.all(stopped.map((stream) => stream.reply));
  await waitFor('full windows', () => stopped.every((stream) => stream.flow.received === INITIAL_WINDOW_BYTES));
  const memoryBefore = process.memoryUsage().arrayBuffers;
  const echo = async (index: number) => {
    const stream = pair.server.open(pipeKind, {});
    const sent = Buffer.alloc(100_000, index);
    stream.bytes.end(sent);
    assert.ok(sent.equals(await readAll(stream.bytes)));
  };
  for (let round = 0; round < 2; round += 1) await Promise.all(Array.from({ length: 50 }, (_, index) => echo(index)));
  for (const stream of stopped) {
    assert.equal(stream.flow.received, INITIAL_WINDOW_BYTES);
    assert.equal(stream.flow.taken, 0);
  }
  const queued = pair.agent.stats.queuedBytes.bulk;
  assert.ok(queued <= 8 * 8 * FRAME_PAYLOAD_BYTES, `${queued} bytes wait at the sender`);
  const grownBytes = process.memoryUsage().arrayBuffers - memoryBefore;
  assert.ok(grownBytes < 64 * 1024 * 1024, `${grownBytes} bytes more`);
  await pair.server.goaway({ code: 'SHUTDOWN', reason: 'enough', deadlineMs: 0 });
  for (const stream of stopped) await expectInterrupted(stream);
});

test('a peer that floods with WebSocket pings and reads no pong is cut off before pongs pile up', async () => {
  const { pair, agentWs } = await connect({ clock: systemClock });
  agentWs.pause();
  for (let count = 0; count < 10_000; count += 1) agentWs.ping(Buffer.alloc(125));
  const end = await within(5000, 'the end', pair.server.closed);
  assert.notEqual(end.by, 'remote');
  agentWs.terminate();
  await pair.agent.closed;
});
