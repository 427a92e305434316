/**
 * How much of what a session sends may be on its way: near bandwidth × delay, so that what waits, waits in the
 * scheduler, where class and fairness rule it. Pure but for the times it is handed.
 *
 * The limit is `gain × rate × smallest round trip + rate × slack`. The rate is the largest that acks showed of
 * late (delivery-rate.ts). While a whole round shows no queue the gain is 2, so that a link
 * that has become faster is filled within a few round trips; else it is just above 1: a short queue keeps the link
 * busy, and a keystroke waits for it.
 */
import { FRAME_PAYLOAD_BYTES } from '../limits.ts';
import { DeliveryRate, type RateSample } from './delivery-rate.ts';
import type { LinkStats } from './link-stats.ts';
import { Pacer } from './pacer.ts';
import { Path } from './path.ts';

const BYTES_PER_MS_OF_MBIT = 125;
/** What may be in flight before anything is known, in bytes. */
const INITIAL_LIMIT_BYTES = 64 * 1024;
const MIN_LIMIT_BYTES = 16 * 1024;
const MAX_LIMIT_BYTES = 32 * 1024 * 1024;
/** While the link is full. */
const CRUISING_GAIN = 1.25;
/** While no queue is seen: reached from cruising in two rounds, so that one lucky round does not cost a queue. */
const PROBING_GAIN = 2;
const GAIN_STEP = 1.3;
/** While the idle round trip is measured anew. */
const DRAINED_GAIN = 0.75;
/** A limit that fell below this part of what it was while the queue stayed has fallen in vain. */
const IN_VAIN_PART = 0.5;
/** The queue, in ms, that a link of no delay needs to be busy: what both ends take to wake up. */
const SLACK_MS = 0.15;
/** For so long a process stands still now and then, in ms: a queue of that is none of the network's. */
const STALL_MS = 50;
/** A queue below this part of the idle round trip, and of the slack, counts as none. */
const QUEUE_TOLERANCE = 1 / 8;
/** How long a measured rate is taken for the link's, in ms. */
const RATE_HOLDS_MS = 10_000;
/** Interactive frames may go beyond the limit by so much: a keystroke does not wait for bulk to arrive. */
const INTERACTIVE_RESERVE_BYTES = 16 * 1024;
/** Frames leave no faster than this multiple of the rate … */
const PACING_GAIN = 1.25;
/** … in bytes per ms; beyond this one the timers are too coarse, and the queues too short to matter. */
const MAX_PACED_PER_MS = 400 * BYTES_PER_MS_OF_MBIT;
/** Full frames on links below some rate, in bytes per ms, and on those above. */
const PAYLOADS = [
  { belowPerMs: 5 * BYTES_PER_MS_OF_MBIT, bytes: 4 * 1024 },
  { belowPerMs: 50 * BYTES_PER_MS_OF_MBIT, bytes: 16 * 1024 },
];
const FULL_PAYLOAD = { bytes: FRAME_PAYLOAD_BYTES };
const UNMEASURED_PAYLOAD_BYTES = 16 * 1024;

/** The queue that the acks of one round trip show, in ms. */
interface Round {
  smallest: number;
  sum: number;
  samples: number;
}

export class InFlight implements LinkStats {
  readonly #rate = new DeliveryRate();
  readonly #path = new Path();
  readonly #pacer = new Pacer();
  #limit = INITIAL_LIMIT_BYTES;
  #gain = PROBING_GAIN;
  #round = newRound();
  /** The limit when the queue was first seen that every round has shown since. */
  #limitBefore: number | undefined;
  /** Since when the limit is reached without an ack. */
  #fullSince: number | undefined;
  #ackedTotal = 0;

  get roundTripIdleMs(): number | undefined {
    return this.#path.smallest;
  }

  get roundTripMs(): number | undefined {
    return this.#path.smoothed;
  }

  get deliveryRate(): number | undefined {
    const { limitedAt, perMs } = this.#rate;
    return limitedAt === undefined ? undefined : perMs * 1000;
  }

  /** As `deliveryRate`, but undefined once the link has not been full for so long that it may have become another. */
  deliveryRateAt(now: number): number | undefined {
    const { limitedAt, perMs } = this.#rate;
    return limitedAt === undefined || now - limitedAt > RATE_HOLDS_MS ? undefined : perMs * 1000;
  }

  get inFlightBytes(): number {
    return this.#rate.inFlight;
  }

  get inFlightLimit(): number {
    return this.#limit;
  }

  /** Whether another frame of bulk may leave. It may go beyond the limit by its own length. */
  get hasBulkRoom(): boolean {
    return this.#rate.inFlight < this.#limit;
  }

  /** Whether another interactive frame may leave. */
  get hasInteractiveRoom(): boolean {
    return this.#rate.inFlight < this.#limit + INTERACTIVE_RESERVE_BYTES;
  }

  /** The payload of a full frame, in bytes: its time on the wire is what a keystroke waits for. */
  get payloadBytes(): number {
    const { limitedAt, perMs } = this.#rate;
    if (limitedAt === undefined) return UNMEASURED_PAYLOAD_BYTES;
    return (PAYLOADS.find(({ belowPerMs }) => perMs < belowPerMs) ?? FULL_PAYLOAD).bytes;
  }

  /** What the link delivers in a ms, in bytes; 0 until it was measured. */
  get bytesPerMs(): number {
    return this.#rate.perMs;
  }

  /** How long the next frame of bulk should wait, in ms; 0 if it may leave. */
  waitMs(now: number): number {
    const { limitedAt, perMs } = this.#rate;
    if (limitedAt === undefined || perMs > MAX_PACED_PER_MS) {
      this.#pacer.rest(now);
      return 0;
    }
    return this.#pacer.waitMs(now, Math.max(this.#gain, PACING_GAIN) * perMs, this.payloadBytes);
  }

  /** For how long all that may be in flight has been, and no ack has come, in ms. */
  unacknowledgedMs(now: number): number {
    return this.#fullSince === undefined ? 0 : now - this.#fullSince;
  }

  /** Counts the bytes of a frame out. @param body whether it is a body frame: by those alone the link is measured */
  sent(bytes: number, body: boolean, now: number): void {
    this.#rate.sent(bytes, body, now);
    if (body) this.#pacer.sent(bytes);
    if (!this.hasBulkRoom) this.#fullSince ??= now;
  }

  /** This end has nothing more to send: what is measured until it is all acknowledged shows less than the link can do. */
  ranDry(): void {
    this.#rate.ranDry();
  }

  /** A pong has come, `roundTripMs` after its ping. */
  ponged(roundTripMs: number, now: number): void {
    this.#path.ponged(roundTripMs, now);
  }

  /** Takes in how many bytes have arrived in all, and when the last of them did, in ms by the peer's clock. */
  acked(total: number, arrivedAt: number, now: number): void {
    const progress = total > this.#ackedTotal;
    this.#ackedTotal = total;
    const sample = this.#rate.acked(total, arrivedAt, now);
    if (sample !== undefined) this.#learn(sample, now);
    if (this.hasBulkRoom) this.#fullSince = undefined;
    else if (progress) this.#fullSince = now;
  }

  #learn(sample: RateSample, now: number): void {
    this.#path.take(sample.trip, now);
    const { queueMs } = this.#path;
    const smallest = this.#smallest;
    if (sample.roundOver === 'full') this.#endRound(now);
    if (!sample.dry) this.#addToRound(queueMs);
    if (queueMs > smallest * (CRUISING_GAIN - 1) + SLACK_MS) this.#gain = CRUISING_GAIN;
    if (sample.perMs !== undefined && !sample.dry && queueMs > this.#longQueue) this.#rate.fallTo(sample.perMs);
    this.#setLimit(now);
  }

  get #smallest(): number {
    return this.#path.smallest ?? Number.POSITIVE_INFINITY;
  }

  /** A queue longer than this end causes while it knows the rate, in ms. */
  get #longQueue(): number {
    return this.#smallest + STALL_MS;
  }

  #addToRound(queueMs: number): void {
    this.#round.smallest = Math.min(this.#round.smallest, queueMs);
    this.#round.sum += queueMs;
    this.#round.samples += 1;
  }

  #endRound(now: number): void {
    const { smallest, sum, samples } = this.#round;
    const queued = sum / samples > (this.#smallest + SLACK_MS) * QUEUE_TOLERANCE;
    this.#gain = queued ? CRUISING_GAIN : Math.min(PROBING_GAIN, this.#gain * GAIN_STEP);
    if (queued) this.#limitBefore ??= this.#limit;
    else this.#limitBefore = undefined;
    // The queue stays though the limit falls: it is not this end's, and the path itself or its ends have become slower.
    if (smallest > this.#longQueue || this.#limit < IN_VAIN_PART * (this.#limitBefore ?? 0)) {
      this.#path.doubt(now);
      this.#limitBefore = undefined;
    }
    this.#round = newRound();
  }

  #setLimit(now: number): void {
    const { perMs } = this.#rate;
    if (perMs === 0) return;
    const smallest = this.#smallest;
    // What waits on the way back is on its way, too; more than a round trip of it is the peer's own doing.
    const roundTrip = smallest + Math.min(this.#path.returnQueueMs, smallest);
    const drained = this.#clamp(DRAINED_GAIN * perMs * roundTrip);
    const draining = this.#path.measureAnew(now, this.#rate.inFlight <= drained);
    // What is measured meanwhile shows less than the link can do.
    if (draining) this.#rate.ranDry();
    const queue = (this.#gain - 1) * smallest + SLACK_MS;
    this.#limit = draining ? drained : this.#clamp(perMs * (roundTrip + queue));
  }

  #clamp(bytes: number): number {
    return Math.max(MIN_LIMIT_BYTES, Math.min(MAX_LIMIT_BYTES, bytes));
  }
}

function newRound(): Round {
  return { smallest: Number.POSITIVE_INFINITY, sum: 0, samples: 0 };
}
