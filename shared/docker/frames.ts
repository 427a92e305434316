/** Docker's multiplexed output (8-byte headers before each chunk of stdout or stderr), taken apart as it arrives. */
import { FairleadError } from '../errors.ts';

/** 1: stdout, 2: stderr. */
export type OutputStream = 1 | 2;

/**
 * Takes a piece of output; the bytes are a view of what was pushed. `frameStart`: the first piece of a frame; `left`: how
 * many bytes of the frame are still to come, 0 where there are no frames.
 */
export type OnOutput = (stream: OutputStream, chunk: Buffer, frameStart: boolean, left: number) => void;

const HEADER_BYTES = 8;
/** Docker's own type for an error that it met while it read the logs: the frame holds the text. */
const SYSTEM_ERROR = 3;
/** How much of such a text is kept. */
const MAX_SYSTEM_ERROR_BYTES = 512;

/**
 * Incremental parser of Docker's multiplexed stream: `type u8 | 0 0 0 | size u32 big-endian | size bytes`.
 * It never buffers output; frames of any size pass in the pieces in which they come.
 */
export class Demuxer {
  readonly #emit: OnOutput;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #type = 0;
  /** Bytes of the current frame that are still to come. */
  #left = 0;
  #frameStart = false;
  #systemError = Buffer.alloc(0);

  constructor(emit: OnOutput) {
    this.#emit = emit;
  }

  /**
   * Parses the next bytes.
   * @throws FairleadError DOCKER_ERROR for a header that is none, and for an error that Docker reports in the stream
   */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left === 0) {
        at = this.#readHeader(chunk, at);
        continue;
      }
      const end = Math.min(chunk.length, at + this.#left);
      this.#left -= end - at;
      this.#body(chunk.subarray(at, end));
      at = end;
    }
  }

  /** Says that no more bytes come. @throws FairleadError STREAM_INTERRUPTED when that is in the middle of a frame */
  end(): void {
    if (this.#left === 0 && this.#headerBytes === 0) return;
    throw new FairleadError('STREAM_INTERRUPTED', "Docker's output ended in the middle of a frame");
  }

  /** Reads as much of a header as there is, and says where the parser goes on. */
  #readHeader(chunk: Buffer, at: number): number {
    if (this.#headerBytes === 0 && chunk.length - at >= HEADER_BYTES) {
      this.#openFrame(chunk, at);
      return at + HEADER_BYTES;
    }
    const end = Math.min(chunk.length, at + HEADER_BYTES - this.#headerBytes);
    chunk.copy(this.#header, this.#headerBytes, at, end);
    this.#headerBytes += end - at;
    if (this.#headerBytes === HEADER_BYTES) {
      this.#headerBytes = 0;
      this.#openFrame(this.#header, 0);
    }
    return end;
  }

  #openFrame(bytes: Buffer, at: number): void {
    const type = bytes.readUInt8(at);
    if (type > SYSTEM_ERROR || bytes.readUIntBE(at + 1, 3) !== 0) {
      throw new FairleadError('DOCKER_ERROR', "Docker's output is not multiplexed as it should be: a bad frame header");
    }
    this.#type = type;
    this.#left = bytes.readUInt32BE(at + 4);
    this.#frameStart = true;
  }

  #body(piece: Buffer): void {
    if (this.#type === SYSTEM_ERROR) {
      this.#collectSystemError(piece);
      return;
    }
    const frameStart = this.#frameStart;
    this.#frameStart = false;
    // Type 0 is an echo of stdin, which Docker's own client writes to stdout too.
    this.#emit(this.#type === 2 ? 2 : 1, piece, frameStart, this.#left);
  }

  #collectSystemError(piece: Buffer): void {
    const room = MAX_SYSTEM_ERROR_BYTES - this.#systemError.length;
    this.#systemError = Buffer.concat([this.#systemError, piece.subarray(0, room)]);
    if (this.#left === 0) throw new FairleadError('DOCKER_ERROR', this.#systemError.toString().trim());
  }
}
