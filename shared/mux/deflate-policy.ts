/** When compressing a stream's frames pays: what it saves on the wire against what it costs in time. Pure. */
import { FRAME_PAYLOAD_BYTES } from '../limits.ts';

/** Payloads below this are left alone: a call of the compressor costs as much as a few KiB of text. */
export const DEFLATE_FROM_BYTES = 512;
/** Above 100 Mbit/s nothing is tried: the link is hardly what limits, and the path of every frame stays bare. */
const MAX_RATE = 12_500_000;
/** Below 25 Mbit/s the densest level earns its time: a tenth less on the wire for twice the time. */
const DENSE_BELOW_RATE = 3_125_000;
const DENSE_LEVEL = 6;
const FAST_LEVEL = 3;
/** The least that must be saved, as a part of the payload. */
const MIN_GAIN = 0.1;
/** What a stream is taken to gain before it was tried: half. */
const EXPECTED_RATIO = 0.5;
/** What did not pay is tried again after 2, 4, … and at most so many frames. */
const MAX_PAUSE_FRAMES = 64;
/** How full a packed frame is meant to be: the next bytes may pack worse than the last, and must fit nevertheless. */
const AIM = 0.8;
/** The weight of a new measurement, and by what factor one may lie above the mean: a collection of garbage is no trend. */
const COST_WEIGHT = 1 / 8;
const COST_JUMP = 4;

/** The compressor's level for a link, of zlib's 1 to 9. */
export function deflateLevel(rate: number): number {
  return rate < DENSE_BELOW_RATE ? DENSE_LEVEL : FAST_LEVEL;
}

/** What compressing costs in one session: a smoothed time per byte. */
export class DeflateCost {
  #msPerByte: number | undefined;

  get msPerByte(): number | undefined {
    return this.#msPerByte;
  }

  note(rawBytes: number, ms: number): void {
    const sample = ms / rawBytes;
    const mean = this.#msPerByte;
    // A mean of nothing, from a clock too coarse to see the first, is no mean.
    if (mean === undefined || mean === 0) this.#msPerByte = sample;
    else this.#msPerByte = mean + COST_WEIGHT * (Math.min(sample, COST_JUMP * mean) - mean);
  }

  /** Whether a byte's part that does not travel saves more time than the byte costs. Unknown costs are none. */
  pays(rate: number, ratio: number): boolean {
    return ((1 - ratio) / rate) * 1000 > (this.#msPerByte ?? 0);
  }
}

/** One stream's decision, frame by frame. */
export class DeflatePolicy {
  readonly #cost: DeflateCost;
  /** Packed bytes per raw byte, of the last try. */
  #ratio: number | undefined;
  /** Frames that still go as they are. */
  #left = 0;
  /** How long the last pause was; 0 while it pays. */
  #pause = 0;

  constructor(cost: DeflateCost) {
    this.#cost = cost;
  }

  /**
   * How many raw bytes to try for the next frame; 0: send it as it is.
   * @param rate what the link delivers, in bytes per second; undefined until measured
   * @param frameBytes the largest payload of a frame now
   */
  rawBytes(rate: number | undefined, frameBytes: number): number {
    if (rate === undefined || rate > MAX_RATE) return 0;
    if (this.#left > 0) {
      this.#left -= 1;
      return 0;
    }
    const untried = this.#ratio === undefined && this.#pause === 0;
    if (untried && !this.#cost.pays(rate, EXPECTED_RATIO)) {
      this.#backOff();
      return 0;
    }
    const ratio = Math.min(1, this.#ratio ?? 1);
    return Math.min(FRAME_PAYLOAD_BYTES, Math.max(frameBytes, Math.floor((AIM * frameBytes) / ratio)));
  }

  /**
   * Takes in how a try went; its cost has been noted before.
   * @returns whether the packed bytes are to be sent in place of the raw ones
   */
  judge(rawBytes: number, packedBytes: number, rate: number, frameBytes: number): boolean {
    const ratio = packedBytes / rawBytes;
    this.#ratio = ratio;
    const gains = ratio <= 1 - MIN_GAIN;
    if (gains && this.#cost.pays(rate, ratio)) this.#pause = 0;
    else this.#backOff();
    // One that came out too large for its frame only says how much to take the next time.
    return gains && packedBytes <= frameBytes;
  }

  #backOff(): void {
    this.#pause = Math.min(MAX_PAUSE_FRAMES, Math.max(2, 2 * this.#pause));
    this.#left = this.#pause;
  }
}
