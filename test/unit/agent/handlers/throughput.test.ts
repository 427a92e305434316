/** host.throughput over a real session: bytes in both directions, every limit, and an opener who leaves. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HandlerContext } from '../../../../agent/handlers/index.ts';
import type { Clock } from '../../../../shared/clock.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { hostThroughput, MAX_THROUGHPUT_BYTES, MAX_THROUGHPUT_MS } from '../../../../shared/messages/host.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { serve } from './served.ts';

/** Docker is not asked for anything but the time. */
function contextAt(clock: Clock): HandlerContext {
  const docker = { clock, explain: (error: unknown) => error };
  return { docker, info: { agentVersion: '1' }, log: {} } as unknown as HandlerContext;
}

describe('host.throughput', () => {
  test('counts what the opener sends, and sends nothing that was not asked for', async (t) => {
    const served = await serve(t, contextAt(systemClock));
    const { stream } = served.open(hostThroughput, { sendBytes: 0, ms: 2000 });
    const chunk = Buffer.alloc(64 * 1024, 1);
    for (let i = 0; i < 32; i++) stream.bytes.write(chunk);
    stream.bytes.end();
    let received = 0;
    for await (const piece of stream.bytes) received += piece.length;
    const { receivedBytes, countedBytes, countedMs } = await stream.trailer;
    assert.deepEqual([received, receivedBytes], [0, 32 * chunk.length]);
    assert.ok(countedBytes < receivedBytes && countedMs >= 0);
    assert.equal(await stream.closed, undefined);
  });

  test('sends as many bytes as were asked for, if the time is enough', async (t) => {
    const served = await serve(t, contextAt(systemClock));
    const { stream } = served.open(hostThroughput, { sendBytes: 3_000_000, ms: 5000 });
    stream.bytes.end();
    let received = 0;
    for await (const piece of stream.bytes) received += piece.length;
    assert.equal(received, 3_000_000);
    assert.deepEqual(await stream.trailer, { receivedBytes: 0, countedBytes: 0, countedMs: 0 });
  });

  test('stops sending when the time is over, although the opener reads on', async (t) => {
    const served = await serve(t, contextAt(systemClock));
    const { stream } = served.open(hostThroughput, { sendBytes: MAX_THROUGHPUT_BYTES, ms: 20 });
    stream.bytes.end();
    let received = 0;
    const reading = (async () => {
      for await (const piece of stream.bytes) received += piece.length;
    })();
    await within(3_000, 'the end', reading);
    assert.ok(received > 0 && received < MAX_THROUGHPUT_BYTES, String(received));
  });

  test('comes to its end when the opener does not come to his', async (t) => {
    const clock = new FakeClock();
    const served = await serve(t, contextAt(clock));
    const opened = served.open(hostThroughput, { sendBytes: 0, ms: 1000 });
    opened.stream.bytes.write(Buffer.alloc(1000));
    await opened.stream.reply;
    await waitFor('the timer', () => clock.pendingTimers > 0);
    clock.advance(5_999);
    assert.equal(opened.stream.state, 'open');
    clock.advance(1);
    assert.equal((await within(1_000, 'the trailer', opened.stream.trailer)).receivedBytes, 1000);
    await opened.done;
  });

  test('an opener who leaves ends it within a second, in either direction', async (t) => {
    const served = await serve(t, contextAt(systemClock));
    for (const sendBytes of [0, MAX_THROUGHPUT_BYTES]) {
      const opened = served.open(hostThroughput, { sendBytes, ms: MAX_THROUGHPUT_MS });
      await opened.stream.reply;
      opened.leave();
      await within(
        1_000,
        'the end of the handler',
        assert.rejects(opened.done, (e) => isFairleadError(e, 'CANCELLED')),
      );
    }
  });

  test('more than the limits cannot be asked for', async (t) => {
    const served = await serve(t, contextAt(systemClock));
    const ask = (sendBytes: number, ms: number) => served.open(hostThroughput, { sendBytes, ms });
    assert.throws(() => ask(MAX_THROUGHPUT_BYTES + 1, 1000), /VALIDATION|sendBytes/);
    assert.throws(() => ask(0, MAX_THROUGHPUT_MS + 1), /VALIDATION|ms/);
    assert.throws(() => ask(0, 0), /VALIDATION|ms/);
  });
});
