import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Demuxer } from '../../shared/docker/frames.ts';
import { LineSplitter, type LogRecord } from '../../shared/docker/lines.ts';
import { FairleadError } from '../../shared/errors.ts';
import { dockerFrame } from '../support/docker-frames.ts';

const output = fc.array(fc.tuple(fc.constantFrom(1, 2), fc.uint8Array({ maxLength: 200 })), { maxLength: 30 });
const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 50 });

/** Cuts `bytes` into pieces of the given sizes, again and again. */
function* pieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  let index = 0;
  for (let at = 0; at < bytes.length; ) {
    const size = sizes[index++ % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

test('any frames in any pieces come out whole, stream by stream', () => {
  fc.assert(
    fc.property(output, cuts, (frames, sizes) => {
      const out: Record<number, Buffer[]> = { 1: [], 2: [] };
      const demuxer = new Demuxer((stream, chunk) => out[stream]?.push(Buffer.from(chunk)));
      const raw = Buffer.concat(frames.map(([type, body]) => dockerFrame(type, body)));
      for (const piece of pieces(raw, sizes)) demuxer.push(piece);
      demuxer.end();
      for (const stream of [1, 2]) {
        const expected = frames.filter(([type]) => type === stream).map(([, body]) => body);
        assert.deepEqual(Buffer.concat(out[stream] ?? []), Buffer.concat(expected));
      }
    }),
  );
});

test('any bytes are output or a FairleadError, never anything else', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), (chunks) => {
      const demuxer = new Demuxer(() => undefined);
      try {
        for (const chunk of chunks) demuxer.push(Buffer.from(chunk));
        demuxer.end();
      } catch (error) {
        assert.ok(error instanceof FairleadError);
      }
    }),
  );
});

const texts = fc.array(fc.string({ unit: 'binary', maxLength: 60 }), { maxLength: 20 });

test('any text in any pieces comes out as its lines; parts are bounded and join to the line', () => {
  fc.assert(
    fc.property(
      texts,
      cuts,
      fc.integer({ min: 4, max: 64 }),
      fc.boolean(),
      (lines, sizes, maxLineBytes, timestamps) => {
        const clean = lines.map((line) => line.replaceAll('\n', ' ').toWellFormed());
        const found: LogRecord[] = [];
        const splitter = new LineSplitter({ tty: false, timestamps, maxLineBytes }, (record) => found.push(record));
        const raw = Buffer.from(clean.map((line) => `${line}\n`).join(''));
        for (const piece of pieces(raw, sizes)) splitter.push(1, piece, false);
        splitter.end();
        const joined: string[] = [];
        let open = '';
        for (const record of found) {
          assert.ok(Buffer.byteLength(record.line) <= maxLineBytes);
          open += record.line;
          if (record.partial) continue;
          joined.push(open);
          open = '';
        }
        assert.deepEqual(joined, clean);
      },
    ),
  );
});
