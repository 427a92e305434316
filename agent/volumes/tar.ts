/** What is looked at of tars as they pass: how long they are, their hash, whether they are whole, and their entries. */
import { createHash, type Hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { Transform, type TransformCallback } from 'node:stream';
import type { Headers } from 'tar-stream';
import { TarEnd } from '../../shared/docker/tar-end.ts';
import { parseTar } from '../../shared/docker/tar-parser.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';

/** So many bytes, and their hash so far. */
export interface Digest {
  readonly bytes: number;
  readonly hash: Hash;
}

/** Length and SHA-256 of bytes, in hexadecimal. */
export interface Sum {
  readonly bytes: number;
  readonly sha256: string;
}

export function emptyDigest(): Digest {
  return { bytes: 0, hash: createHash('sha256') };
}

export function sumOf({ bytes, hash }: Digest): Sum {
  return { bytes, sha256: hash.copy().digest('hex') };
}

/**
 * Passes a tar on from an offset, and hashes all of it. An archive that Docker breaks off ends like a whole one, but for the
 * end that every tar has: `end` fails then.
 */
export class TarTail extends Transform {
  readonly #offset: number;
  readonly #reached = Promise.withResolvers<Sum | undefined>();
  readonly #end = new TarEnd();
  #digest = emptyDigest();

  constructor(offset = 0) {
    super();
    this.#offset = offset;
    this.#reached.promise.catch(() => undefined);
    // It may fail before anybody reads it: whoever does so later, or waits for `reached`, is told.
    this.on('error', () => undefined);
    if (offset === 0) this.#reached.resolve(sumOf(this.#digest));
  }

  /** What stands before the offset, once that is reached; undefined if the tar is shorter. */
  get reached(): Promise<Sum | undefined> {
    return this.#reached.promise;
  }

  /** All that has passed. */
  get sum(): Sum {
    return sumOf(this.#digest);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const skipped = Math.max(0, Math.min(chunk.byteLength, this.#offset - this.#digest.bytes));
    if (skipped > 0) {
      this.#add(chunk.subarray(0, skipped));
      if (this.#digest.bytes === this.#offset) this.#reached.resolve(sumOf(this.#digest));
    }
    const rest = chunk.subarray(skipped);
    if (rest.byteLength > 0) {
      this.#add(rest);
      this.push(rest);
    }
    done();
  }

  override _flush(done: TransformCallback): void {
    this.#reached.resolve(undefined);
    done(this.#end.isReached ? null : brokenArchive());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#reached.reject(error ?? brokenArchive());
    done(error);
  }

  #add(chunk: Buffer): void {
    this.#digest = { bytes: this.#digest.bytes + chunk.byteLength, hash: this.#digest.hash.update(chunk) };
    this.#end.add(chunk);
  }
}

/** A tar from an offset on, which fails if its end is lacking; ends with what it is made of. */
export function wholeTar(tar: Readable, offset = 0): TarTail {
  const tail = new TarTail(offset);
  tar.on('error', (error) => tail.destroy(error));
  tail.on('close', () => tar.destroy());
  return tar.pipe(tail);
}

function brokenArchive(): FairleadError {
  const why = 'its end is lacking; something in it may have changed while it was read';
  return new FairleadError('DOCKER_ERROR', `Docker broke the archive off: ${why}`);
}

/**
 * Calls `visit` with each entry of a tar, until it returns false.
 * @param content is given what stands in each entry; without it that is passed over
 * @throws FairleadError DOCKER_ERROR for what is no tar; what `source` fails with
 */
export async function visitEntries(
  source: Readable,
  visit: (header: Headers) => boolean,
  content?: (chunk: Buffer) => void,
): Promise<void> {
  const parser = parseTar(source);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  parser.on('entry', (header: Headers, body, next) => {
    try {
      if (!visit(header)) return resolve();
    } catch (error) {
      // Thrown from here, nobody would catch it.
      return reject(error);
    }
    if (content !== undefined) body.on('data', content);
    body.on('end', () => next()).resume();
  });
  parser.on('finish', resolve).on('error', (error) => {
    const isKnown = error === source.errored || isFairleadError(error);
    reject(isKnown ? error : new FairleadError('DOCKER_ERROR', `this is no tar: ${error.message}`, { cause: error }));
  });
  try {
    await promise;
  } finally {
    parser.destroy();
  }
}

/** The hash of what a tar says, whatever way of writing it: names, kinds, owners, modes, times in seconds, links, contents. */
export async function contentHash(source: Readable): Promise<string> {
  const hash = createHash('sha256');
  await visitEntries(
    source,
    ({ name, type, mode, uid, gid, size, mtime, linkname, devmajor, devminor }) => {
      const seconds = Math.floor((mtime?.getTime() ?? 0) / 1000);
      const path = name.replace(/\/+$/, '');
      hash.update(JSON.stringify([path, type, mode, uid, gid, size, seconds, linkname, devmajor, devminor]));
      return true;
    },
    (chunk) => hash.update(chunk),
  );
  return hash.digest('hex');
}
