/** A flood of handshakes from one address: agents elsewhere connect as before. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import type { Identity } from '../../agent/identity/state-dir.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { FairleadError } from '../../shared/errors.ts';
import { connectAgent, liveListener } from '../support/live-listener.ts';
import { waitFor } from '../support/wait.ts';

const PER_SECOND = 500;
const CONNECTS = 20;
/** A machine that is busy otherwise gets other chances; without the gate each of them fails. */
const ROUNDS = 3;
/** Whatever else the machine does meanwhile must not decide this test. */
const SLACK_MS = 15;
const FLOOD = fileURLToPath(new URL('../support/client-hello-flood.ts', import.meta.url));

/** What a client sends first. */
async function clientHello(): Promise<Buffer> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = tls.connect({ port: (server.address() as AddressInfo).port, servername: INTERNAL_SERVER_NAME });
  client.on('error', () => undefined);
  const [socket] = await accepted;
  const [hello] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  server.close();
  return hello;
}

interface Flood {
  /** Connections a second since it began. */
  rate(): number;
  begin(): Promise<void>;
  pause(): void;
}

async function floodOf(t: TestContext, port: number): Promise<Flood> {
  const hello = (await clientHello()).toString('hex');
  const child = fork(FLOOD, [String(port), '127.0.0.2', String(PER_SECOND), hello], { execArgv: [] });
  t.after(() => child.kill('SIGKILL'));
  let last = { opened: 0, ms: 0 };
  child.on('message', (message: typeof last) => {
    last = message;
  });
  const rate = () => (last.opened * 1000) / (last.ms || 1);
  return {
    rate,
    async begin() {
      last = { opened: 0, ms: 0 };
      child.send('begin');
      const isFull = () => last.ms > 1_500 && rate() > PER_SECOND / 2;
      await waitFor('a flood', isFull, { timeoutMs: 20_000, context: () => `${rate()}/s` });
    },
    pause: () => void child.send('pause'),
  };
}

/** The median time from TCP to welcome, in ms. */
async function medianMs(agents: Identity[]): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < CONNECTS; i++) {
    const identity = agents[i % agents.length];
    assert.ok(identity !== undefined);
    const from = performance.now();
    const { session } = await connectAgent(identity, { localAddress: '127.0.0.3' });
    times.push(performance.now() - from);
    session.destroy(new FairleadError('SHUTDOWN', 'measured'));
    await session.closed;
  }
  return times.sort((a, b) => a - b)[CONNECTS / 2] ?? 0;
}

test('500 ClientHellos a second from one address leave the connect time of agents within 3 times idle', async (t) => {
  const live = await liveListener(t);
  const agents = await Promise.all(Array.from({ length: 12 }, (_, n) => live.enroll(`agent-${n}`)));
  const flood = await floodOf(t, live.port);
  flood.pause();
  await medianMs(agents);
  const rounds: string[] = [];
  const best = { idle: Number.POSITIVE_INFINITY, flooded: Number.POSITIVE_INFINITY };
  for (let round = 0; round < ROUNDS; round++) {
    const idleMs = await medianMs(agents);
    await flood.begin();
    const floodedMs = await medianMs(agents);
    rounds.push(
      `idle ${idleMs.toFixed(1)} ms, at ${flood.rate().toFixed(0)} ClientHellos/s ${floodedMs.toFixed(1)} ms`,
    );
    flood.pause();
    t.diagnostic(rounds.at(-1) ?? '');
    best.idle = Math.min(best.idle, idleMs);
    best.flooded = Math.min(best.flooded, floodedMs);
    if (best.flooded <= 3 * best.idle + SLACK_MS) return;
  }
  assert.fail(rounds.join('; '));
});
