/** Reads newline-delimited JSON from a stream of bytes. */
import { fromWireError } from '../../shared/errors.ts';
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

/** The server ends an answer that it cannot finish with `{error: {code, detail}}`. */
function refuse(record: unknown): void {
  const { error } = (record ?? {}) as { error?: { code?: unknown; detail?: unknown } };
  if (typeof error?.code === 'string' && typeof error.detail === 'string') {
    throw fromWireError({ code: error.code, message: error.detail });
  }
}

async function* lines(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  // Pieces of a line wait in a list: joining them at each chunk would cost the square of a long line's length.
  let pieces: Uint8Array[] = [];
  let held = 0;
  for await (const chunk of source) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const line = Buffer.concat([...pieces, chunk.subarray(start, end)]);
      pieces = [];
      held = 0;
      start = end + 1;
      if (line.length > 0) yield line;
    }
    pieces.push(chunk.subarray(start));
    held += chunk.length - start;
    if (held > MAX_RECORD_BYTES) throw new Error(`the server sent a record of more than ${MAX_RECORD_BYTES} bytes`);
  }
  if (held > 0) yield Buffer.concat(pieces);
}
