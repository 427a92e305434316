/** Reads newline-delimited JSON from a stream of bytes. */
import { fromWireError } from '../../shared/errors.ts';
import { Gathered } from '../../shared/gathered.ts';
import { brokenOff } from './errors.ts';

/** The longest record that is taken, in bytes: a log line of a container may be long, but not without end. */
const MAX_RECORD_BYTES = 16 * 1024 * 1024;

/**
 * Yields each record of a streamed answer.
 * @throws FairleadError when the answer ends with an error record, or breaks off; Error when a line is no JSON or too long
 */
export async function* records(source: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  try {
    for await (const line of lines(source)) {
      const record: unknown = JSON.parse(line.toString('utf8'));
      refuse(record);
      yield record;
    }
  } catch (error) {
    throw brokenOff(error);
  }
}

/**
 * The server ends an answer that it cannot finish with `{error: {code, detail}}` and nothing else: records that have more
 * may tell of errors as well, as that of a transfer which failed.
 */
function refuse(record: unknown): void {
  if (Object.keys(record ?? {}).length !== 1) return;
  const { error } = (record ?? {}) as { error?: { code?: unknown; detail?: unknown } };
  if (typeof error?.code === 'string' && typeof error.detail === 'string') {
    throw fromWireError({ code: error.code, message: error.detail });
  }
}

async function* lines(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const begun = new Gathered(MAX_RECORD_BYTES);
  const add = (piece: Uint8Array) => {
    if (!begun.add(piece)) throw new Error(`the server sent a record of more than ${MAX_RECORD_BYTES} bytes`);
  };
  for await (const chunk of source) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      add(chunk.subarray(start, end));
      const line = begun.bytes();
      begun.clear();
      start = end + 1;
      if (line.length > 0) yield line;
    }
    add(chunk.subarray(start));
  }
  if (begun.length > 0) yield begun.bytes();
}
