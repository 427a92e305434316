/** What counts of a measurement, and that noise stops by bytes, by time, by the reader and by the signal. */
import assert from 'node:assert/strict';
import { PassThrough, Writable } from 'node:stream';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { systemClock } from '../../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { Arrivals, writeNoise } from '../../../shared/throughput.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const NEVER = new AbortController().signal;

/** Takes everything, and lets `ms` of `clock` pass for each chunk. */
function taker(clock: FakeClock, ms: number): Writable & { taken: Buffer[] } {
  const taken: Buffer[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      taken.push(chunk);
      clock.advance(ms);
      done();
    },
  });
  return Object.assign(sink, { taken });
}

test('nothing that came tells no rate', () => {
  const arrivals = new Arrivals(new FakeClock());
  assert.deepEqual([arrivals.total, arrivals.counted], [0, { bytes: 0, ms: 0 }]);
  arrivals.add(100);
  assert.deepEqual([arrivals.total, arrivals.counted], [100, { bytes: 0, ms: 0 }]);
});

test('a short measurement counts from its first chunk on, a long one once the link is warm', () => {
  const clock = new FakeClock();
  const arrivals = new Arrivals(clock);
  const comes = (bytes: number, ms: number, times: number) => {
    for (let i = 0; i < times; i++) {
      clock.advance(ms);
      arrivals.add(bytes);
    }
  };
  comes(10, 100, 6);
  assert.deepEqual(arrivals.counted, { bytes: 50, ms: 500 });
  comes(1000, 100, 4);
  assert.deepEqual(arrivals.counted, { bytes: 4050, ms: 900 }, 'half a second after the warm-up is not over yet');
  comes(1000, 100, 11);
  assert.deepEqual(arrivals.counted, { bytes: 15_000, ms: 1500 });
  assert.equal(arrivals.total, 15_060);
});

test('noise ends with its bytes, and cannot be compressed', async () => {
  const sink = taker(new FakeClock(), 0);
  assert.equal(await writeNoise(sink, { bytes: 300_000, ms: 1000 }, new FakeClock(), NEVER), 300_000);
  const all = Buffer.concat(sink.taken);
  assert.equal(all.byteLength, 300_000);
  assert.ok(deflateRawSync(all).byteLength > 299_000);
  assert.equal(sink.writableEnded, false);
});

test('noise ends with its time', async () => {
  const clock = new FakeClock();
  const sink = taker(clock, 100);
  const written = await writeNoise(sink, { bytes: 1e9, ms: 1000 }, clock, NEVER);
  assert.equal(written, 10 * 64 * 1024);
});

test('a sink that takes nothing is waited for no longer than the time', async () => {
  const clock = new FakeClock();
  const stuck = new Writable({ highWaterMark: 1, write: () => undefined });
  const writing = writeNoise(stuck, { bytes: 1e9, ms: 1000 }, clock, NEVER);
  clock.advance(1000);
  assert.equal(await writing, 64 * 1024);
  assert.equal(clock.pendingTimers, 0);
  assert.deepEqual([stuck.listenerCount('drain'), stuck.listenerCount('close')], [0, 0]);
});

test('the signal and a reader that leaves end the noise at once', async () => {
  const stuck = () => new Writable({ highWaterMark: 1, write: () => undefined });
  const leaving = new AbortController();
  const signalled = writeNoise(stuck(), { bytes: 1e9, ms: 60_000 }, systemClock, leaving.signal);
  leaving.abort(new FairleadError('CANCELLED', 'enough'));
  await assert.rejects(signalled, (error) => isFairleadError(error, 'CANCELLED'));
  await assert.rejects(writeNoise(stuck(), { bytes: 1, ms: 1 }, systemClock, leaving.signal), /enough/);
  const sink = stuck();
  const closed = writeNoise(sink, { bytes: 1e9, ms: 60_000 }, systemClock, NEVER);
  sink.destroy();
  await assert.rejects(closed, (error) => isFairleadError(error, 'STREAM_INTERRUPTED'));
  const broken = new PassThrough({ highWaterMark: 1 }).on('error', () => undefined);
  const failed = writeNoise(broken, { bytes: 1e9, ms: 60_000 }, systemClock, NEVER);
  broken.destroy(new Error('its own reason'));
  await assert.rejects(failed, /its own reason/);
});
