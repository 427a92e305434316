/** Throughput of a host over a real session in memory: both directions, their limits, and what ends a test early. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { measureThroughput } from '../../../../server/hosts/throughput.ts';
import { NativeLink } from '../../../../server/mesh/native-link.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import type { Hello } from '../../../../shared/messages/control.ts';
import type { hostThroughput } from '../../../../shared/messages/host.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { within } from '../../../support/wait.ts';
import { type Served, serveStreams } from '../mesh/served-link.ts';

const NEVER = new AbortController().signal;

function linkTo({ server }: Served, capabilities = ['host.throughput']): NativeLink {
  const hello = { capabilities, docker: { reachable: false }, instanceId: 'i' } as unknown as Hello;
  return new NativeLink({ hostId: 'h', session: server, hello, connectedAt: 0 });
}

/** An agent that takes everything and answers with `counted`, and sends what it was asked for. */
async function agent(t: TestContext, counted = { receivedBytes: 0, countedBytes: 0, countedMs: 0 }): Promise<Served> {
  return await serveStreams(t, async (opened) => {
    const stream = opened as unknown as MuxStream<typeof hostThroughput>;
    const { sendBytes } = stream.params;
    stream.sendReply({});
    let received = 0;
    if (sendBytes > 0) stream.bytes.write(Buffer.alloc(sendBytes));
    stream.bytes.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    await once(stream.bytes, 'end');
    stream.finish({ ...counted, receivedBytes: received });
  });
}

const plan = { direction: 'to-host', ms: 1000, bytes: 500_000 } as const;

test('to the host it is what the host has counted', async (t) => {
  const served = await agent(t, { receivedBytes: 0, countedBytes: 400_000, countedMs: 160 });
  const result = await measureThroughput(linkTo(served), plan, { clock: systemClock, signal: NEVER });
  assert.equal(result.bytes, 500_000);
  assert.equal(result.bytesPerSecond, 2_500_000);
  assert.ok(result.loaded.received <= result.loaded.sent);
});

test('from the host it is what has come, whatever the host says', async (t) => {
  const served = await agent(t, { receivedBytes: 2e8, countedBytes: 2e8, countedMs: 1 });
  const from = { ...plan, direction: 'from-host' } as const;
  const result = await measureThroughput(linkTo(served), from, { clock: systemClock, signal: NEVER });
  assert.equal(result.bytes, 500_000);
  assert.ok(result.bytesPerSecond === undefined || result.bytesPerSecond < 1e9);
});

test('a host that sends more than it was asked for is stopped', async (t) => {
  const served = await serveStreams(t, async (opened) => {
    const stream = opened as unknown as MuxStream<typeof hostThroughput>;
    stream.sendReply({});
    stream.bytes.write(Buffer.alloc(200_000));
  });
  const from = { ...plan, direction: 'from-host', bytes: 100_000 } as const;
  const testing = measureThroughput(linkTo(served), from, { clock: systemClock, signal: NEVER });
  await assert.rejects(testing, (error) => isFairleadError(error, 'MESSAGE_INVALID'));
  assert.equal(served.server.openStreams, 0);
});

test('too little, or a claim of no time at all, is no rate', async (t) => {
  const served = await agent(t, { receivedBytes: 0, countedBytes: 2e8, countedMs: 1e-300 });
  const result = await measureThroughput(linkTo(served), plan, { clock: systemClock, signal: NEVER });
  assert.equal(result.bytesPerSecond, undefined);
});

test('an agent that does not know the kind is not asked: it would end the session for it', async (t) => {
  const served = await agent(t);
  const asked = measureThroughput(linkTo(served, []), plan, { clock: systemClock, signal: NEVER });
  await assert.rejects(asked, (error) => isFairleadError(error, 'UNSUPPORTED'));
  assert.equal(served.server.openStreams, 0);
});

test('an agent that never comes to its end is reset in time', async (t) => {
  const served = await serveStreams(t, async (stream) => stream.sendReply({}));
  const clock = new FakeClock();
  const link = linkTo(served);
  const testing = measureThroughput(link, { ...plan, bytes: 1000 }, { clock, signal: NEVER });
  const failed = assert.rejects(testing, (error) => isFairleadError(error, 'TIMEOUT'));
  await link.ping();
  clock.advance(11_000);
  await within(1_000, 'the reset', failed);
  assert.equal(served.server.openStreams, 0);
});

test('a client that leaves ends the test, and a lost session does', async (t) => {
  const served = await serveStreams(t, async (stream) => stream.sendReply({}));
  for (const direction of ['to-host', 'from-host'] as const) {
    const leaving = new AbortController();
    const options = { clock: systemClock, signal: leaving.signal };
    const testing = measureThroughput(linkTo(served), { ...plan, direction }, options);
    const failed = assert.rejects(testing, (error) => isFairleadError(error, 'CANCELLED'));
    await linkTo(served).ping();
    leaving.abort(new FairleadError('CANCELLED', 'the client went away'));
    await within(1_000, 'the end', failed);
    assert.equal(served.server.openStreams, 0);
  }
  const cut = measureThroughput(linkTo(served), plan, { clock: systemClock, signal: NEVER });
  const failed = assert.rejects(cut, (error) => isFairleadError(error, 'STREAM_INTERRUPTED'));
  await linkTo(served).ping();
  served.server.destroy(new FairleadError('SHUTDOWN', 'cut'));
  await within(1_000, 'the end', failed);
});
