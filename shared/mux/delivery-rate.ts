/**
 * At what rate a link delivers, by the acks of the peer: bytes that arrived between two acks, over the time between
 * their arrivals, or between their sendings if that took longer (as in draft-cheng-iccrg-delivery-rate-estimation).
 * Arrivals are timed by the peer's clock: what holds up the acks on their way back does not count.
 */
import type { Trip } from './path.ts';

/** A place in what was sent, and what was known when it was sent. */
interface Mark {
  /** Frame bytes sent in all, up to and with this frame. */
  readonly end: number;
  readonly sentAt: number;
  /** Bytes that had been acknowledged a moment before, when the newest of them was sent, and when it arrived, by the peer's clock. */
  readonly acked: number;
  readonly ackedSentAt: number;
  readonly ackedArrivedAt: number | undefined;
  /** Whether the sender had less to send than the link could take. */
  readonly dry: boolean;
}

export interface RateSample {
  /** Bytes per ms; undefined if the clocks saw no time pass. */
  readonly perMs: number | undefined;
  /** The way of the newest frame that was acknowledged. */
  readonly trip: Trip;
  /** Whether the sender had less to send than the link could take. */
  readonly dry: boolean;
  /** Whether a round trip is over, and whether the sender kept the link full meanwhile. */
  readonly roundOver: 'no' | 'dry' | 'full';
}

/** Bytes between two marks at least, and unless so much time has passed: a mark for each keystroke says nothing new. */
const MIN_MARK_BYTES = 1024;
const MARK_BYTES = 16 * 1024;
const MARK_MS = 0.2;
/**
 * The largest rate is remembered for this long at least, in ms, and twice that at most: on a short link both ends are
 * slower than the network for many round trips now and then, and what was measured then is no reason to send less.
 */
const REMEMBERED_MS = 40;
/** Frames are measured from an ack this much older at least, in ms: on a short link what arrives in less comes in bursts. */
const MEASURED_MS = 1;
/** After so long without another frame a mark says nothing of the link any more, in ms. */
const STALE_MS = 10_000;
/** What is sent beyond so many marks is measured with the last of them. */
const MAX_MARKS = 4096;

export class DeliveryRate {
  #sent = 0;
  #acked = 0;
  /** What the next marks are measured from. */
  #base = 0;
  #ackedSentAt = 0;
  #ackedArrivedAt: number | undefined;
  #marks: Mark[] = [];
  /** The oldest mark that counts; the ones before are done. */
  #first = 0;
  /** What is sent until more than this is acknowledged shows less than the link can do. */
  #dryUntil = -1;
  /** The round is over once a mark that knew of so many acknowledged bytes is acknowledged itself. */
  #roundEnd = 0;
  #roundLimited = false;
  /** The largest rate since `#maxSince`, and before. */
  #max = 0;
  #maxSince = 0;
  #lastMax = 0;
  #limitedAt: number | undefined;

  /** The largest rate of late, a round trip and 40 ms at least, in bytes per ms; 0 until one is known. */
  get perMs(): number {
    return Math.max(this.#max, this.#lastMax);
  }

  /** When the rate was last measured while there was more to send than the link took; undefined if it never was. */
  get limitedAt(): number | undefined {
    return this.#limitedAt;
  }

  /** Bytes sent and not acknowledged. */
  get inFlight(): number {
    return this.#sent - this.#acked;
  }

  /** Counts the bytes of a frame out. @param body whether the link is measured by it */
  sent(bytes: number, body: boolean, now: number): void {
    this.#sent += bytes;
    this.#dropStale(now);
    if (!body) return;
    const last = this.#marks.at(-1);
    if (last !== undefined) {
      const between = this.#sent - last.end;
      if (between < MIN_MARK_BYTES || (between < MARK_BYTES && now - last.sentAt < MARK_MS)) return;
    }
    if (this.#marks.length - this.#first >= MAX_MARKS) return;
    // Nothing measured is on its way: the time since the last ack is the sender's, not the link's.
    if (this.#first === this.#marks.length) {
      this.#base = this.#acked;
      this.#ackedSentAt = now;
      this.#ackedArrivedAt = undefined;
    }
    this.#marks.push({
      end: this.#sent,
      sentAt: now,
      acked: this.#base,
      ackedSentAt: this.#ackedSentAt,
      ackedArrivedAt: this.#ackedArrivedAt,
      dry: this.#acked <= this.#dryUntil,
    });
  }

  /** What went out so long ago and is still not acknowledged waits for more to be acknowledged with, not for the link. */
  #dropStale(now: number): void {
    const last = this.#marks.at(-1);
    if (last === undefined || now - last.sentAt < STALE_MS) return;
    this.#marks = [];
    this.#first = 0;
  }

  /** Nothing is left to send. */
  ranDry(): void {
    this.#dryUntil = this.#sent;
  }

  /**
   * Takes in how many bytes have arrived in all, and when the last of them did, by the peer's clock.
   * @returns what that shows, if a measured frame was among them
   */
  acked(total: number, arrivedAt: number, now: number): RateSample | undefined {
    this.#acked = total;
    const mark = this.#pass(total);
    if (mark === undefined) return undefined;
    if (this.#ackedArrivedAt === undefined || arrivedAt - this.#ackedArrivedAt >= MEASURED_MS) {
      this.#base = total;
      this.#ackedSentAt = mark.sentAt;
      this.#ackedArrivedAt = arrivedAt;
    }
    const roundTripMs = now - mark.sentAt;
    const arriving = mark.ackedArrivedAt === undefined ? roundTripMs : arrivedAt - mark.ackedArrivedAt;
    const elapsed = Math.max(arriving, mark.sentAt - mark.ackedSentAt);
    // What took no time that the clocks can tell says nothing of the rate.
    const perMs = elapsed > 0 ? (total - mark.acked) / elapsed : undefined;
    const roundOver = mark.acked >= this.#roundEnd ? this.#turnRound(total, now) : 'no';
    if (perMs !== undefined) this.#take(perMs, mark.dry, now);
    return { perMs, trip: { roundTripMs, sentAt: mark.sentAt, arrivedAt }, dry: mark.dry, roundOver };
  }

  /** The newest mark that has arrived. */
  #pass(total: number): Mark | undefined {
    let newest: Mark | undefined;
    for (
      let mark = this.#marks[this.#first];
      mark !== undefined && mark.end <= total;
      mark = this.#marks[this.#first]
    ) {
      newest = mark;
      this.#first += 1;
    }
    if (this.#first === this.#marks.length) {
      this.#marks = [];
      this.#first = 0;
    } else if (this.#first >= 64) {
      this.#marks = this.#marks.slice(this.#first);
      this.#first = 0;
    }
    return newest;
  }

  #turnRound(total: number, now: number): 'dry' | 'full' {
    this.#roundEnd = total;
    // A round in which the sender had little to send says nothing of the link.
    if (!this.#roundLimited) return 'dry';
    this.#roundLimited = false;
    if (now - this.#maxSince >= REMEMBERED_MS) {
      this.#lastMax = this.#max;
      this.#max = 0;
      this.#maxSince = now;
    }
    return 'full';
  }

  #take(perMs: number, dry: boolean, now: number): void {
    if (dry && perMs < this.perMs) return;
    this.#max = Math.max(this.#max, perMs);
    if (dry) return;
    this.#roundLimited = true;
    this.#limitedAt = now;
  }

  /** Forgets any larger rate. */
  fallTo(perMs: number): void {
    this.#max = Math.min(this.#max, perMs);
    this.#lastMax = Math.min(this.#lastMax, perMs);
  }
}
