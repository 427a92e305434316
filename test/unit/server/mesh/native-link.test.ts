/** What a native link opens and tells of its traffic, and that its round trip stays known. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { startHeartbeats } from '../../../../agent/link/heartbeats.ts';
import { NativeLink } from '../../../../server/mesh/native-link.ts';
import { RoundTripProbe } from '../../../../server/mesh/round-trip-probe.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { containerLogStream, containerRemove } from '../../../../shared/messages/container.ts';
import type { Heartbeat, Hello } from '../../../../shared/messages/control.ts';
import { hostThroughput } from '../../../../shared/messages/host.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { serveStreams } from './served-link.ts';

const hello = { capabilities: [], docker: { reachable: false }, instanceId: 'i' } as unknown as Hello;
const docker = { reachable: false };

test('what the agent sends is told by its heartbeats, once there is something to tell', async (t) => {
  const beats: Heartbeat[] = [];
  const { server, agent } = await serveStreams(
    t,
    async (stream) => {
      const log = stream as unknown as MuxStream<typeof containerLogStream>;
      log.sendReply({ tty: true });
      log.bytes.end(Buffer.alloc(3_000_000));
    },
    (_kind, value) => beats.push(value as Heartbeat),
  );
  const link = new NativeLink({ hostId: 'h', session: server, hello, connectedAt: 0 });
  const clock = new FakeClock();
  const vitals = {
    load: () => [0, 0, 0],
    streams: () => 0,
    docker: () => docker,
    onDockerState: () => () => undefined,
  };
  startHeartbeats(agent, 1000, vitals, clock);
  await waitFor('the first heartbeat', () => beats.length === 1);
  assert.equal(beats[0]?.link, undefined, 'an idle agent has nothing to tell');
  assert.equal(link.describe().clockSkewMs, undefined, 'before it has said what time it is');
  link.beat(beats[0] as Heartbeat, clock.now() + 90_000);
  assert.equal(link.describe().clockSkewMs, -90_000, 'its clock is behind');
  assert.equal(link.traffic().fromAgent, undefined);

  const log = await link.open(containerLogStream, { id: 'c' });
  let received = 0;
  for await (const chunk of log.bytes) received += chunk.length;
  assert.equal(received, 3_000_000);
  clock.advance(1000);
  await waitFor('the next heartbeat', () => beats.length === 2);
  const told = beats[1]?.link;
  assert.ok(told?.roundTripMs !== undefined || told?.deliveryBytesPerSecond !== undefined, JSON.stringify(told));
  link.beat(beats[1] as Heartbeat, 0);
  assert.deepEqual(link.traffic().fromAgent, told);
  link.beat({ ...(beats[1] as Heartbeat), link: undefined } as unknown as Heartbeat, 0);
  assert.deepEqual(link.traffic().fromAgent, told, 'nothing new is no news');
  assert.ok(link.traffic().bytesIn > 3_000_000);
  assert.deepEqual(Object.keys(link.traffic().toAgent.queuedBytes).sort(), ['bulk', 'control', 'interactive']);
});

test('a kind that the agent did not name is not opened: an agent that does not know it ends its session', async (t) => {
  const { server } = await serveStreams(t, async (stream) => {
    stream.reset(new FairleadError('DENIED_BY_HOST', 'the policy'));
  });
  const ask = async (more: Partial<Hello>) => {
    const link = new NativeLink({ hostId: 'h', session: server, hello: { ...hello, ...more }, connectedAt: 0 });
    return await link.call(hostThroughput, { sendBytes: 0, ms: 1 }).catch((error: FairleadError) => error.code);
  };
  assert.equal(await ask({}), 'UNSUPPORTED');
  assert.equal(await ask({ denied: ['host.throughput'] }), 'DENIED_BY_HOST');
  assert.equal(await ask({ capabilities: ['host.throughput'] }), 'DENIED_BY_HOST');
  const link = new NativeLink({ hostId: 'h', session: server, hello, connectedAt: 0 });
  await assert.rejects(link.call(containerRemove, { id: 'c' }), { code: 'DENIED_BY_HOST' });
});

test('a ping tells the round trip', async (t) => {
  const { server } = await serveStreams(t, async () => undefined);
  const link = new NativeLink({ hostId: 'h', session: server, hello, connectedAt: 0 });
  assert.ok((await link.ping()) >= 0);
  server.destroy(new FairleadError('TIMEOUT', 'silence'));
  await assert.rejects(link.ping(), /STREAM_INTERRUPTED|session ended/);
});

test('a quiet session is pinged at its first heartbeat and then once a minute', () => {
  const clock = new FakeClock();
  const probe = new RoundTripProbe({ clock, log: pino({ level: 'silent' }) }, 'h');
  let pings = 0;
  const link = { ping: async () => pings++ };
  for (let seconds = 0; seconds < 180; seconds += 15) {
    probe.beat(link);
    clock.advance(15_000);
  }
  assert.equal(pings, 3);
});

test('a ping that fails is in the log and ends nothing', async () => {
  const lines: { level: number; hostId: string }[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  for (const code of ['TIMEOUT', 'STREAM_INTERRUPTED'] as const) {
    const probe = new RoundTripProbe({ clock: new FakeClock(), log }, 'h');
    probe.beat({ ping: () => Promise.reject(new FairleadError(code, 'no')) });
    await setImmediate();
  }
  assert.deepEqual(
    lines.map(({ level, hostId }) => [level, hostId]),
    [
      [40, 'h'],
      [20, 'h'],
    ],
  );
});
