/** Docker's output as Node streams: plain bytes, line records, or NDJSON. */
import { PassThrough, Transform, type TransformCallback } from 'node:stream';
import { Demuxer, type OnOutput } from './frames.ts';
import { type LineOptions, LineSplitter, type LogRecord } from './lines.ts';

export { Demuxer, type OnOutput, type OutputStream } from './frames.ts';
export { type LineOptions, type LogRecord, MAX_LINE_BYTES } from './lines.ts';

/** Calls `step` and hands what it throws to the stream. */
function guard(callback: TransformCallback, step: () => void): void {
  try {
    step();
  } catch (error) {
    callback(error instanceof Error ? error : new Error(String(error)));
    return;
  }
  callback();
}

/**
 * Multiplexed output in, the bytes of stdout and stderr out in the order in which they came.
 * With `tty` the output has no frames and passes as it is.
 * The stream fails with a FairleadError for a bad header or an end in the middle of a frame.
 */
export function demuxToBytes(options: { tty?: boolean } = {}): Transform {
  if (options.tty === true) return new PassThrough();
  let out = Buffer.alloc(0);
  let used = 0;
  const demuxer = new Demuxer((_stream, piece) => {
    used += piece.copy(out, used);
  });
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      guard(callback, () => {
        // One buffer out for one in: a log line per push costs more than copying it.
        out = Buffer.allocUnsafe(chunk.length);
        used = 0;
        demuxer.push(chunk);
        if (used > 0) this.push(out.subarray(0, used));
      });
    },
    flush(callback) {
      guard(callback, () => demuxer.end());
    },
  });
}

/** A parser of raw output into records, for either form of output. */
function recordParser(
  options: LineOptions,
  emit: (record: LogRecord) => void,
): { push: (c: Buffer) => void; end: () => void } {
  const lines = new LineSplitter(options, emit);
  const toLines: OnOutput = (stream, piece, frameStart) => lines.push(stream, piece, frameStart);
  if (options.tty) return { push: (chunk) => lines.push(1, chunk, false), end: () => lines.end() };
  const demuxer = new Demuxer(toLines);
  return {
    push: (chunk) => demuxer.push(chunk),
    end() {
      lines.end();
      demuxer.end();
    },
  };
}

/** Raw output in, LogRecords (object mode) out. Fails as `demuxToBytes` does; lines that are begun are emitted first. */
export function demuxToRecords(options: LineOptions): Transform {
  return recordTransform(options, true);
}

/** Raw output in, `JSON.stringify(LogRecord)` lines out, as bytes. Fails as `demuxToRecords` does. */
export function demuxToNdjson(options: LineOptions): Transform {
  return recordTransform(options, false);
}

function recordTransform(options: LineOptions, objects: boolean): Transform {
  let records: LogRecord[] = [];
  const parser = recordParser(options, (record) => records.push(record));
  const pushRecords = (transform: Transform) => {
    if (objects) for (const record of records) transform.push(record);
    else if (records.length > 0) transform.push(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    records = [];
  };
  const stepAndPush = (transform: Transform, callback: TransformCallback, step: () => void) =>
    guard(callback, () => {
      try {
        step();
      } finally {
        pushRecords(transform);
      }
    });
  return new Transform({
    readableObjectMode: objects,
    transform(chunk: Buffer, _encoding, callback) {
      stepAndPush(this, callback, () => parser.push(chunk));
    },
    flush(callback) {
      stepAndPush(this, callback, () => parser.end());
    },
  });
}
