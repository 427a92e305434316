/** Streamed answers have no status and no honest end: what Docker refuses, and what broke off, is seen all the same. */
import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { pack } from 'tar-stream';
import { HeldBytes } from '../../../../server/hawser/held-bytes.ts';
import { Samples } from '../../../../server/hawser/host-feeds.ts';
import { refusalIn } from '../../../../server/hawser/refusal.ts';
import { refuseBy, requireWholeTar } from '../../../../server/hawser/refusal-stream.ts';

/** Passes chunks and an end through what is looked at. */
async function passed(chunks: readonly Buffer[], look: (bytes: HeldBytes) => void): Promise<Buffer> {
  const bytes = new HeldBytes({ set: () => undefined }, () => undefined);
  look(bytes);
  for (const chunk of chunks) bytes.receive(chunk);
  bytes.finish();
  return Buffer.concat(await bytes.toArray());
}

const cut = (bytes: Buffer, size: number) =>
  Array.from({ length: Math.ceil(bytes.byteLength / size) }, (_, n) => bytes.subarray(n * size, (n + 1) * size));

test('a refusal is told in the words of Docker, wherever it is cut', async () => {
  const refusal = Buffer.from('{"message":"No such container: nöpe"}\n');
  for (const size of [1, 5, 100]) {
    await assert.rejects(passed(cut(refusal, size), refuseBy), { code: 'CONTAINER_NOT_FOUND', message: /nöpe/ });
  }
  assert.deepEqual(refusalIn('{"message":"is not running"}'), { status: 409 });
  assert.deepEqual(refusalIn('{"message":"server error"}'), { status: 500 });
});

test('what only begins like a refusal is passed on byte for byte', async () => {
  for (const text of [
    '{"message":"a","more":1}',
    '{"messages":[]}',
    '{"mess',
    '',
    '{"message":"a"}{"message":"b"}',
    'ü{',
  ]) {
    const bytes = Buffer.from(text);
    for (const size of [1, 3, 100]) assert.deepEqual(await passed(cut(bytes, size), refuseBy), bytes, text);
  }
  const frames = Buffer.concat([Buffer.of(1, 0, 0, 0, 0, 0, 0, 3), Buffer.from('{"m')]);
  assert.deepEqual(await passed(cut(frames, 2), refuseBy), frames);
});

test('a tar that breaks off anywhere never looks whole', async () => {
  const tar = pack();
  tar.entry({ name: 'zeros' }, Buffer.alloc(3_000));
  tar.finalize();
  const whole = await buffer(tar);
  assert.deepEqual(await passed(cut(whole, 100), requireWholeTar), whole);
  for (const length of [0, 512, 1_024, 2_048, 3_584, whole.byteLength - 512]) {
    const part = passed(cut(whole.subarray(0, length), 100), requireWholeTar);
    await assert.rejects(part, { code: 'STREAM_INTERRUPTED' }, String(length));
  }
});

test('what an agent measures becomes samples, with rates from the second on', () => {
  const samples = new Samples();
  const at = (timestamp: number, networkRxBytes: number) => {
    const metrics = { cpuUsage: 120, cpuCores: 2, memoryTotal: 100, memoryUsed: 40, networkRxBytes, networkTxBytes: 0 };
    samples.add({ type: 'metrics', timestamp, metrics });
    return samples.last.sample;
  };
  const first = at(1_000, 50);
  assert.deepEqual([first?.cpu?.percent, first?.memory?.availableBytes, first?.network], [100, 60, undefined]);
  assert.deepEqual(at(1_030, 3_050)?.network, { receivedBytesPerSecond: 100, sentBytesPerSecond: 0 });
  // Counters that began anew, and a clock that stood still.
  assert.equal(at(1_060, 10)?.network, undefined);
  assert.equal(at(1_060, 20)?.network, undefined);
  assert.equal(samples.last.count, 4);
});
