/** Compressed payloads of one session: packs what is worth it, and unpacks within bounds what the peer packed. */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Clock } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import { FRAME_PAYLOAD_BYTES } from '../limits.ts';
import { countStreamedBytes } from '../young-heap.ts';
import { Budget } from './budget.ts';
import { DeflateCost, DeflatePolicy, deflateLevel } from './deflate-policy.ts';
import { MAX_BIN_HEAD_BYTES } from './frame.ts';
import { violation } from './session-end.ts';

/** The only one there is, by its name in hello and welcome: raw DEFLATE, RFC 1951, each frame on its own. */
export const DEFLATE = 'deflate';
/** The most that one frame's payload may become: a full chunk and its MessagePack head. */
export const MAX_INFLATED_BYTES = FRAME_PAYLOAD_BYTES + MAX_BIN_HEAD_BYTES;
/** What a frame counts at least against the peer's budget: each costs a call, however little comes out of it. */
const MIN_COUNTED_BYTES = 16 * 1024;
/** Seconds' worth that may arrive at once. */
const BURST_SECONDS = 2;

/** What packing may take of the event loop, in ms per second and in a row; beyond it frames leave as they are. */
const MAX_MS_PER_SECOND = 500;
const MAX_MS_IN_A_ROW = 8;

/** Payload bytes of compressed frames, before and after. */
export interface DeflateCount {
  raw: number;
  packed: number;
}

/** The count of a session without compression. */
export const NOTHING_DEFLATED: Readonly<DeflateCount> = { raw: 0, packed: 0 };

export class Deflation {
  readonly cost = new DeflateCost();
  readonly sent: DeflateCount = { raw: 0, packed: 0 };
  readonly received: DeflateCount = { raw: 0, packed: 0 };
  readonly #clock: Clock;
  readonly #out: Budget;
  readonly #in: Budget;
  readonly #time: Budget;

  /** @param bytesPerSecond what either end may make the other unpack */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    const now = clock.monotonic();
    this.#out = new Budget(bytesPerSecond, bytesPerSecond, now);
    this.#in = new Budget(bytesPerSecond, BURST_SECONDS * bytesPerSecond, now);
    this.#time = new Budget(MAX_MS_PER_SECOND, MAX_MS_IN_A_ROW, now);
  }

  /** Packs one payload and measures what that costs. @returns undefined if either end has done enough of it for now */
  pack(raw: Uint8Array, level: number): Uint8Array | undefined {
    const from = this.#clock.monotonic();
    const expected = Math.min(MAX_MS_IN_A_ROW, (this.cost.msPerByte ?? 0) * raw.byteLength);
    if (!this.#time.take(from, expected) || !this.#out.take(from, counted(raw.byteLength))) return undefined;
    const packed = deflateRawSync(raw, { level });
    this.cost.note(raw.byteLength, this.#clock.monotonic() - from);
    countStreamedBytes(raw.byteLength);
    return packed;
  }

  /**
   * Unpacks one payload of the peer's.
   * @throws FairleadError MESSAGE_INVALID if it is no DEFLATE or more than that, FRAME_TOO_LARGE, PROTOCOL_ERROR for too many
   */
  unpack(packed: Uint8Array): Uint8Array {
    const raw = inflate(packed);
    this.received.raw += raw.byteLength;
    this.received.packed += packed.byteLength;
    countStreamedBytes(raw.byteLength);
    if (this.#in.take(this.#clock.monotonic(), counted(raw.byteLength))) return raw;
    throw violation('more compressed bytes than this end is ready to unpack');
  }
}

/** One stream's frames, packed as far as that pays. */
export class Packer {
  readonly #deflation: Deflation;
  readonly #policy: DeflatePolicy;

  constructor(deflation: Deflation) {
    this.#deflation = deflation;
    this.#policy = new DeflatePolicy(deflation.cost);
  }

  /** As DeflatePolicy.rawBytes. */
  rawBytes(rate: number | undefined, frameBytes: number): number {
    return this.#policy.rawBytes(rate, frameBytes);
  }

  /** Packs one payload. @returns undefined if it is to leave as it is */
  pack(raw: Uint8Array, rate: number, frameBytes: number): Uint8Array | undefined {
    const packed = this.#deflation.pack(raw, deflateLevel(rate));
    if (packed === undefined) return undefined;
    if (!this.#policy.judge(raw.byteLength, packed.byteLength, rate, frameBytes)) return undefined;
    this.#deflation.sent.raw += raw.byteLength;
    this.#deflation.sent.packed += packed.byteLength;
    return packed;
  }
}

/** What Node answers with the option `info`, which its types leave out. */
interface Inflated {
  readonly buffer: Uint8Array;
  /** `bytesWritten`: how much of the input belongs to the stream; zlib itself ignores what follows. */
  readonly engine: { readonly bytesWritten: number };
}

function counted(rawBytes: number): number {
  return Math.max(MIN_COUNTED_BYTES, rawBytes);
}

function inflate(packed: Uint8Array): Uint8Array {
  try {
    const options = { maxOutputLength: MAX_INFLATED_BYTES, info: true };
    const { buffer, engine } = inflateRawSync(packed, options) as unknown as Inflated;
    if (engine.bytesWritten === packed.byteLength) return buffer;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      throw new FairleadError('FRAME_TOO_LARGE', `a payload unpacks to more than ${MAX_INFLATED_BYTES} bytes`);
    }
    throw new FairleadError('MESSAGE_INVALID', 'a compressed payload is no DEFLATE', { cause });
  }
  throw new FairleadError('MESSAGE_INVALID', 'bytes follow a compressed payload');
}
