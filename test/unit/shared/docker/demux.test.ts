import assert from 'node:assert/strict';
import { Readable, type Transform } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { test } from 'node:test';
import {
  demuxToBytes,
  demuxToNdjson,
  demuxToRecords,
  type LineOptions,
  type LogRecord,
} from '../../../../shared/docker/demux.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { cutInto, dockerFrame } from '../../../support/docker-frames.ts';

const PLAIN: LineOptions = { tty: false, timestamps: false };
const STAMPED: LineOptions = { tty: false, timestamps: true };
const TIME = '2026-01-02T03:04:05.123456789Z';
const LATER = '2026-01-02T03:04:06.000000000Z';

function feed(pieces: readonly Buffer[], through: Transform): Transform {
  return Readable.from(pieces, { objectMode: false }).compose(through) as unknown as Transform;
}

async function records(options: LineOptions, ...pieces: Buffer[]): Promise<LogRecord[]> {
  const through = demuxToRecords(options);
  Readable.from(pieces, { objectMode: false }).pipe(through);
  const found: LogRecord[] = [];
  for await (const record of through) found.push(record);
  return found;
}

test('demuxToBytes gives stdout and stderr in the order in which they came', async () => {
  const raw = Buffer.concat([dockerFrame(1, 'a\n'), dockerFrame(2, 'b\n'), dockerFrame(1, 'c\n')]);
  for (const size of [1, 3, 8, 9, raw.length]) {
    assert.equal(await text(feed(cutInto(raw, size), demuxToBytes())), 'a\nb\nc\n');
  }
});

test('demuxToBytes lets the output of a terminal pass as it is', async () => {
  assert.equal(await text(feed([Buffer.from('plain\r\n')], demuxToBytes({ tty: true }))), 'plain\r\n');
});

test('demuxToBytes keeps every byte of binary output', async () => {
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  const raw = Buffer.concat([dockerFrame(1, every), dockerFrame(2, every)]);
  assert.deepEqual(await buffer(feed(cutInto(raw, 7), demuxToBytes())), Buffer.concat([every, every]));
});

test('a truncated frame and a bad header fail every transform', async () => {
  const whole = dockerFrame(1, 'line\n');
  for (const make of [() => demuxToBytes(), () => demuxToRecords(PLAIN), () => demuxToNdjson(PLAIN)]) {
    await assert.rejects(
      feed([whole, whole.subarray(0, 10)], make())
        .resume()
        .toArray(),
      (error) => isFairleadError(error, 'STREAM_INTERRUPTED'),
    );
    await assert.rejects(
      feed([whole, Buffer.from('not a header at all')], make())
        .resume()
        .toArray(),
      (error) => isFairleadError(error, 'DOCKER_ERROR'),
    );
  }
});

test('records keep the lines of the two streams apart', async () => {
  const raw = [dockerFrame(1, 'out be'), dockerFrame(2, 'err\n'), dockerFrame(1, 'gun\nlast')];
  assert.deepEqual(await records(PLAIN, ...raw), [
    { stream: 'stderr', line: 'err' },
    { stream: 'stdout', line: 'out begun' },
    { stream: 'stdout', line: 'last' },
  ]);
});

test('records hold empty lines, and no line after the last line end', async () => {
  assert.deepEqual(await records(PLAIN, dockerFrame(1, '\n\na\n')), [
    { stream: 'stdout', line: '' },
    { stream: 'stdout', line: '' },
    { stream: 'stdout', line: 'a' },
  ]);
});

test('characters survive being cut anywhere', async () => {
  const line = 'grüße, 世界 🚢';
  const raw = dockerFrame(1, `${line}\n`);
  for (let size = 1; size < raw.length; size++) {
    assert.deepEqual(await records(PLAIN, ...cutInto(raw, size)), [{ stream: 'stdout', line }]);
  }
});

test('what is not UTF-8 becomes U+FFFD', async () => {
  const raw = dockerFrame(1, Buffer.from([0x61, 0xff, 0x62, 0x0a]));
  assert.deepEqual(await records(PLAIN, raw), [{ stream: 'stdout', line: 'a\ufffdb' }]);
});

test('a long line comes in partial records, cut between characters, and loses nothing', async () => {
  const line = '世'.repeat(50);
  const found = await records({ ...PLAIN, maxLineBytes: 16 }, dockerFrame(1, `${line}\nnext\n`));
  const parts = found.slice(0, -1);
  assert.equal(parts.map((record) => record.line).join(''), line);
  assert.ok(parts.slice(0, -1).every((record) => record.partial === true && Buffer.byteLength(record.line) <= 16));
  assert.equal(parts.at(-1)?.partial, undefined);
  assert.deepEqual(found.at(-1), { stream: 'stdout', line: 'next' });
});

test('a line of exactly the limit is whole', async () => {
  assert.deepEqual(await records({ ...PLAIN, maxLineBytes: 8 }, dockerFrame(1, '12345678\n')), [
    { stream: 'stdout', line: '12345678' },
  ]);
});

test('bytes that never end a character do not stop the splitting', async () => {
  const found = await records({ ...PLAIN, maxLineBytes: 8 }, dockerFrame(1, Buffer.alloc(100, 0x80)));
  assert.equal(found.map((record) => record.line).join('').length, 100);
});

test("timestamps are taken off the front of Docker's entries", async () => {
  const raw = Buffer.concat([dockerFrame(1, `${TIME} first\n`), dockerFrame(2, `${LATER} \n`)]);
  for (const size of [1, 5, 31, raw.length]) {
    assert.deepEqual(await records(STAMPED, ...cutInto(raw, size)), [
      { stream: 'stdout', time: TIME, line: 'first' },
      { stream: 'stderr', time: LATER, line: '' },
    ]);
  }
});

test('a line of several entries has the time of the first, and no timestamp in its middle', async () => {
  const raw = [dockerFrame(1, `${TIME} long `), dockerFrame(2, `${LATER} x\n`), dockerFrame(1, `${LATER} line\n`)];
  assert.deepEqual(await records(STAMPED, ...raw), [
    { stream: 'stderr', time: LATER, line: 'x' },
    { stream: 'stdout', time: TIME, line: 'long line' },
  ]);
});

test('all parts of a split line carry its time', async () => {
  const found = await records({ ...STAMPED, maxLineBytes: 8 }, dockerFrame(1, `${TIME} 123456789\n`));
  assert.deepEqual(found, [
    { stream: 'stdout', time: TIME, line: '12345678', partial: true },
    { stream: 'stdout', time: TIME, line: '9' },
  ]);
});

test('what is no timestamp stays in the line', async () => {
  const odd = ['no time at all', 'short', 'a'.repeat(60), '2026-01-02 03:04:05 x', ''];
  const raw = odd.map((line) => dockerFrame(1, `${line}\n`));
  assert.deepEqual(
    (await records(STAMPED, ...raw)).map(({ time, line }) => [time, line]),
    odd.map((line) => [undefined, line]),
  );
});

test('a terminal: lines lose the CR that it adds, timestamps stand before each line', async () => {
  const tty: LineOptions = { tty: true, timestamps: true };
  const raw = Buffer.from(`${TIME} one\r\n${LATER} two\rover\r\n${LATER} end`);
  for (const size of [1, 4, raw.length]) {
    assert.deepEqual(await records(tty, ...cutInto(raw, size)), [
      { stream: 'stdout', time: TIME, line: 'one' },
      { stream: 'stdout', time: LATER, line: 'two\rover' },
      { stream: 'stdout', time: LATER, line: 'end' },
    ]);
  }
});

test('without a terminal a CR belongs to the line', async () => {
  assert.deepEqual(await records(PLAIN, dockerFrame(1, 'dos\r\n')), [{ stream: 'stdout', line: 'dos\r' }]);
});

test('NDJSON has one record per line', async () => {
  const raw = Buffer.concat([dockerFrame(1, 'a "quoted"\tline\n'), dockerFrame(2, 'b\n')]);
  assert.equal(
    await text(feed([raw], demuxToNdjson(PLAIN))),
    '{"stream":"stdout","line":"a \\"quoted\\"\\tline"}\n{"stream":"stderr","line":"b"}\n',
  );
});

test('a reader that stops holds the transform back', async () => {
  const through = demuxToRecords(PLAIN);
  const chunk = Buffer.concat(Array.from({ length: 1_000 }, () => dockerFrame(1, 'line\n')));
  let accepted = 0;
  while (through.write(chunk) && accepted < 1_000) accepted++;
  assert.ok(accepted < 20, `took ${accepted} chunks although nobody reads`);
  through.destroy();
});

test('a line that comes byte by byte holds its own bytes alone', async () => {
  // Each byte arrives as a view of a large chunk; were the views kept, this would hold a gigabyte.
  const through = demuxToRecords(PLAIN).resume();
  const header = dockerFrame(1, '');
  header.writeUInt32BE(16_384, 4);
  through.write(header);
  const before = process.memoryUsage().arrayBuffers;
  for (let byte = 0; byte < 16_384; byte++) {
    if (!through.write(Buffer.allocUnsafeSlow(65_536).fill(0x61).subarray(0, 1))) {
      await new Promise((resolve) => through.once('drain', resolve));
    }
    if (byte % 512 === 0) await new Promise(setImmediate);
  }
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown < 300 * 1024 * 1024, `grew by ${grown} bytes`);
  through.destroy();
});
