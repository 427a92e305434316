/** Reads of releases: in turns, and over when nobody takes what is sent. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { ReleaseReads } from '../../../../server/releases/release-reads.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { CATALOGUE } from '../../../../shared/messages/index.ts';
import { releaseRead } from '../../../../shared/messages/release.ts';
import { Session } from '../../../../shared/mux/session.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { memoryPair } from '../../../support/memory-pair.ts';
import { greet } from '../../../support/mux.ts';
import { testRelease } from '../../../support/releases.ts';
import { tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';

const BYTES = randomBytes(40_000_000);
/** More than a stream's first window. */
const SOME_BYTES = 1_000_000;
/** What is to be taken within a minute while others wait. */
const LEAST_BYTES = 1024 * 1024;
const { signed } = testRelease();

async function started(t: TestContext) {
  const path = join(await tempDir(t, 'reads'), 'fairlead-agent.gz');
  await writeFile(path, BYTES);
  const clock = new FakeClock();
  const reads = new ReleaseReads({ clock, offered: () => signed, path: () => path });
  const host = async (hostId: string): Promise<Session> => {
    const link = memoryPair();
    const common = { catalogue: CATALOGUE, clock: systemClock, onControl: () => undefined };
    const onStream = (stream: MuxStream) =>
      void reads.serve(hostId, stream as unknown as MuxStream<typeof releaseRead>);
    const server = new Session({ ...common, side: 'server', transport: link.server, onStream });
    const agent = new Session({
      ...common,
      side: 'agent',
      transport: link.agent,
      onStream: (stream) => stream.finish(),
    });
    await greet({ server, agent });
    t.after(() => server.destroy(new FairleadError('SHUTDOWN', 'the test is over')));
    return agent;
  };
  const read = (agent: Session, offset = 0) => agent.open(releaseRead, { sha256: signed.sha256, offset });
  return { clock, reads, host, read };
}

/** Reads so much that credit goes back and more comes, which is then what the other end has sent. */
async function takeSome(stream: Pick<MuxStream, 'bytes' | 'flow'>): Promise<void> {
  const { bytes, flow: before } = stream;
  let taken = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const take = (chunk: Buffer) => {
    taken += chunk.length;
    if (taken < SOME_BYTES) return;
    bytes.off('data', take).pause();
    resolve();
  };
  bytes.on('data', take).resume();
  await promise;
  await waitFor('more of it', () => stream.flow.received > before.received);
}

/** A stream of which a test says how much was taken. */
class FakeRead {
  readonly params = { sha256: signed.sha256, offset: 0 };
  readonly flow = { sent: 0 };
  readonly bytes = new Writable({ highWaterMark: 1, write: () => undefined });
  readonly aborted = new AbortController().signal;
  readonly closed = new Promise<never>(() => undefined);
  hasTurn = false;
  error: FairleadError | undefined;

  sendReply(): void {
    this.hasTurn = true;
  }

  reset(error: FairleadError): void {
    this.error = error;
  }
}

test('so many hosts read at once, and the next one has its turn when one of them is through', async (t) => {
  const { host, read } = await started(t);
  const agents = await Promise.all(Array.from({ length: 17 }, (_, i) => host(`h${i}`)));
  const [first, ...others] = agents.slice(0, 16).map((agent) => read(agent));
  await Promise.all([first, ...others].map((stream) => stream?.reply));
  const last = read(agents[16] ?? assert.fail());
  let isAnswered = false;
  void last.reply.then(() => {
    isAnswered = true;
  });
  for (let i = 0; i < 20; i++) await setImmediate();
  assert.equal(isAnswered, false);
  assert.ok(first && (await buffer(first.bytes)).equals(BYTES));
  assert.deepEqual(await last.reply, { totalBytes: BYTES.length });
});

test('whoever has no turn for two minutes is told to ask again', async (t) => {
  const { clock, host, read } = await started(t);
  const agents = await Promise.all(Array.from({ length: 17 }, (_, i) => host(`h${i}`)));
  const going = agents.slice(0, 16).map((agent) => read(agent));
  await Promise.all(going.map(({ reply }) => reply));
  const late = read(agents[16] ?? assert.fail());
  const refusal = assert.rejects(late.reply, { code: 'OVERLOADED', message: /no turn came in time/ });
  // Two of each that goes on, and its own.
  await waitFor('its wait', () => clock.pendingTimers === 2 * going.length + 1);
  for (let passed = 0; passed < 120_000; passed += 30_000) {
    await Promise.all(going.map(takeSome));
    clock.advance(30_000);
  }
  await refusal;
  for (const { state } of going) assert.notEqual(state, 'closed');
});

test('one that takes little of a read, or for long, makes way for one that waits, and only then', async (t) => {
  const { clock, reads } = await started(t);
  const serve = (hostId: string) => {
    const stream = new FakeRead();
    void reads.serve(hostId, stream as unknown as MuxStream<typeof releaseRead>);
    return stream;
  };
  const take = (bytes: number, ...streams: FakeRead[]) => {
    for (const { flow } of streams) flow.sent += bytes;
  };
  const going = Array.from({ length: 16 }, (_, i) => serve(`h${i}`));
  const [slow = assert.fail(), ...others] = going;
  // Two of each that goes on.
  await waitFor('their turns', () => clock.pendingTimers === 2 * going.length);
  for (let minutes = 1; minutes <= 3; minutes += 1) {
    take(1, slow);
    take(LEAST_BYTES, ...others);
    clock.advance(60_000);
  }
  for (let i = 0; i < 20; i++) await setImmediate();
  assert.ok(
    going.every(({ error }) => error === undefined),
    'nobody waits',
  );
  const waiting = serve('h16');
  take(LEAST_BYTES - 1, slow);
  take(LEAST_BYTES, ...others);
  clock.advance(60_000);
  await waitFor('its turn', () => waiting.hasTurn);
  assert.equal(slow.error?.code, 'OVERLOADED');
  assert.ok(others.every(({ error }) => error === undefined));
  // It asks again; the others have had their time by then, of which one makes room.
  await waitFor('its timers', () => clock.pendingTimers === 2 * going.length);
  const again = serve('h0');
  take(LEAST_BYTES, ...others, waiting);
  clock.advance(60_000);
  await waitFor('its turn', () => again.hasTurn);
  assert.equal(waiting.error, undefined, 'its turn has just begun');
  assert.deepEqual(
    others.flatMap(({ error }) => error?.code ?? []),
    ['OVERLOADED'],
    'no more of them than wait',
  );
});

test('a host that takes nothing for a minute loses the read, not its session, and goes on where it was', async (t) => {
  const { clock, host, read } = await started(t);
  const agent = await host('h1');
  const stalled = read(agent);
  await stalled.reply;
  await waitFor('what goes ahead', () => stalled.flow.received > 0);
  for (let i = 0; i < 20; i++) await setImmediate();
  clock.advance(60_000);
  clock.advance(60_000);
  assert.equal((await stalled.closed)?.code, 'TIMEOUT');
  await waitFor('the end of its turn', async () => {
    const rest = read(agent, BYTES.length - 5);
    return await rest.reply.then(
      async () => (await buffer(rest.bytes)).equals(BYTES.subarray(-5)),
      () => false,
    );
  });
});
