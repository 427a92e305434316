/** Reads newline-delimited JSON from a stream of bytes. */

/** The longest record that is taken, in bytes: a log line of a container may be long, but not without end. */
const MAX_RECORD_BYTES = 16 * 1024 * 1024;

/** Yields each record. @throws Error when a line is no JSON or has no end in sight. */
export async function* records(source: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
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
      if (line.length > 0) yield JSON.parse(line.toString('utf8'));
    }
    pieces.push(chunk.subarray(start));
    held += chunk.length - start;
    if (held > MAX_RECORD_BYTES) throw new Error(`the server sent a record of more than ${MAX_RECORD_BYTES} bytes`);
  }
  const last = Buffer.concat(pieces).toString('utf8').trim();
  if (last !== '') yield JSON.parse(last);
}
