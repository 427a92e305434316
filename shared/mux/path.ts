/**
 * What a session knows of the way to its peer: the smallest round trip of late, the smoothed one, and how long what it
 * sends waits on the way there. The queue is told by the delay of one way alone (as in RFC 6817), by the clocks of both
 * ends: their difference cancels out, and so does what waits on the way back.
 */

/** How long the smallest delays are believed unless they are seen again, in ms. */
const BELIEVED_MS = 10_000;
/** How soon after one measurement the next may begin when it is in doubt, in ms and in round trips. */
const DOUBT_AFTER_MS = 100;
const DOUBT_AFTER_ROUNDS = 10;
/** A round trip this close to the smallest confirms it. */
const CONFIRMS = 1.05;
/** How long the queue is kept empty for a measurement, in round trips: a single one may be late for other reasons. */
const MEASURED_ROUNDS = 1.25;
const SMOOTHING = 1 / 8;

/** One frame's way, as its ack told it. All in ms. */
export interface Trip {
  readonly roundTripMs: number;
  /** When it was sent, by this end's clock. */
  readonly sentAt: number;
  /** When it arrived, by the peer's clock. */
  readonly arrivedAt: number;
}

/** The measurement of the idle path: since when nothing queues, and what was seen since. */
interface Measurement {
  drainedAt: number | undefined;
  roundTrip: number;
  oneWay: number;
}

export class Path {
  #smallest: number | undefined;
  #smoothed: number | undefined;
  /** The smallest difference of arrival and sending, which mixes two clocks. */
  #smallestOneWay = Number.POSITIVE_INFINITY;
  #oneWay = Number.POSITIVE_INFINITY;
  #seenAt = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #measurement: Measurement | undefined;

  /** The round trip of the idle link, in ms; undefined until one was measured. */
  get smallest(): number | undefined {
    return this.#smallest;
  }

  /** The round trip of now, in ms; undefined until one was measured. */
  get smoothed(): number | undefined {
    return this.#smoothed;
  }

  /** How long the last frame that was acknowledged waited on the way there, in ms. */
  get queueMs(): number {
    return Number.isFinite(this.#oneWay) ? this.#oneWay - this.#smallestOneWay : 0;
  }

  /** What the way back takes longer than it must, in ms: acks wait there behind what the peer sends. */
  get returnQueueMs(): number {
    if (this.#smallest === undefined || this.#smoothed === undefined) return 0;
    return Math.max(0, this.#smoothed - this.#smallest - this.queueMs);
  }

  /** A pong has come, `ms` after its ping. */
  ponged(ms: number, now: number): void {
    this.#smooth(ms);
    if (this.#smallest === undefined || ms <= this.#smallest) {
      this.#smallest = ms;
      this.#seenAt = now;
    }
  }

  /** An ack has told of a frame's way. */
  take(trip: Trip, now: number): void {
    const { roundTripMs, sentAt, arrivedAt } = trip;
    this.#smooth(roundTripMs);
    this.#oneWay = arrivedAt - sentAt;
    this.#smallestOneWay = Math.min(this.#smallestOneWay, this.#oneWay);
    if (this.#smallest === undefined || roundTripMs <= this.#smallest * CONFIRMS) {
      this.#smallest = Math.min(this.#smallest ?? roundTripMs, roundTripMs);
      this.#believe(now);
    } else {
      this.#measure(trip, now);
    }
  }

  #smooth(ms: number): void {
    this.#smoothed = this.#smoothed === undefined ? ms : this.#smoothed + (ms - this.#smoothed) * SMOOTHING;
  }

  #believe(now: number): void {
    this.#seenAt = now;
    this.#measurement = undefined;
  }

  #measure({ roundTripMs, sentAt }: Trip, now: number): void {
    const measurement = this.#measurement;
    if (measurement?.drainedAt === undefined || sentAt < measurement.drainedAt) return;
    measurement.roundTrip = Math.min(measurement.roundTrip, roundTripMs);
    measurement.oneWay = Math.min(measurement.oneWay, this.#oneWay);
    if (now - measurement.drainedAt < MEASURED_ROUNDS * measurement.roundTrip) return;
    this.#smallest = measurement.roundTrip;
    this.#smallestOneWay = measurement.oneWay;
    this.#measuredAt = now;
    this.#believe(now);
  }

  /** The smallest delays no longer fit what is seen. */
  doubt(now: number): void {
    const waitMs = Math.max(DOUBT_AFTER_MS, DOUBT_AFTER_ROUNDS * (this.#smallest ?? 0));
    if (now - this.#measuredAt > waitMs) this.#measurement ??= newMeasurement();
  }

  /**
   * Whether the idle path is being measured anew, so that nothing may queue.
   * @param drained whether what is in flight has fallen so far that nothing queues
   */
  measureAnew(now: number, drained: boolean): boolean {
    if (this.#smallest === undefined) return false;
    if (now - this.#seenAt > BELIEVED_MS) this.#measurement ??= newMeasurement();
    if (this.#measurement === undefined) return false;
    if (drained) this.#measurement.drainedAt ??= now;
    return true;
  }
}

function newMeasurement(): Measurement {
  return { drainedAt: undefined, roundTrip: Number.POSITIVE_INFINITY, oneWay: Number.POSITIVE_INFINITY };
}
