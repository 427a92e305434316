/** Parses a tar that another side sends. Headers that extend others are kept until they are whole, so their lengths are bounded. */
import { Readable } from 'node:stream';
import { type Entry, type Extract, extract, type Headers } from 'tar-stream';
import { FairleadError } from '../errors.ts';

/** What may stand before an entry, or behind the last one: long names, extended attributes, zeros. */
const MAX_BETWEEN_BYTES = 1024 * 1024;
/** So small that little is on its way to the parser. */
const PIECE_BYTES = 16 * 1024;
const BLOCK_BYTES = 512;

/**
 * The parser that `source` goes to. It fails with what `source` fails with, and with DOCKER_ERROR for headers too long and sizes
 * that there are not.
 */
export function parseTar(source: Readable): Extract {
  const parser = extract();
  source.on('error', (error) => parser.destroy(error));
  source.on('close', () => source.readableEnded || parser.destroy(source.errored ?? refused('broke off')));
  let passed = 0;
  /** Up to where the parser keeps nothing. */
  let allowed = MAX_BETWEEN_BYTES;
  // By what the parser itself takes for entries: whoever followed the headers beside it could be told something else.
  parser.on('entry', (header: Headers, content: Entry) => {
    // It fails with the parser, which is heard of by itself.
    content.on('error', () => undefined);
    // The parser would wait for its end for good.
    if (!isSize(header.size)) parser.destroy(refused('has a file of no size that there is'));
    // A directory has no content, whatever size it names; the parser would wait for the end of that, too.
    if (header.type === 'directory') header.size = 0;
    allowed = passed + contentBytes(header) + MAX_BETWEEN_BYTES;
  });
  const pieces = async function* () {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.byteLength; at += PIECE_BYTES) {
        if (!(passed <= allowed)) {
          parser.destroy(refused(`has headers of more than ${MAX_BETWEEN_BYTES} bytes before one file`));
          return;
        }
        const piece = chunk.subarray(at, at + PIECE_BYTES);
        passed += piece.byteLength;
        yield piece;
      }
    }
  };
  Readable.from(pieces())
    .on('error', (error) => parser.destroy(error))
    .pipe(parser);
  return parser;
}

function isSize(size: unknown): boolean {
  return Number.isSafeInteger(size) && (size as number) >= 0;
}

function refused(why: string): FairleadError {
  return new FairleadError('DOCKER_ERROR', `the tar ${why}`);
}

/** What the parser passes on of an entry, with what fills its last block up. */
function contentBytes({ size = 0 }: Headers): number {
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
}
