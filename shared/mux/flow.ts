/** Flow arithmetic: absolute limits on body bytes, for one direction of one stream. Pure functions over plain records. */

/** What a sender may still send. All figures are offsets of body bytes since the stream began. */
export interface SendCredit {
  /** The offset up to which the peer takes bytes. Never falls. */
  limit: number;
  sent: number;
}

export function creditLeft(credit: SendCredit): number {
  return credit.limit - credit.sent;
}

/** Takes over a limit from the peer. @returns false if it fell, which the protocol forbids; the same again is allowed. */
export function raiseLimit(credit: SendCredit, limit: number): boolean {
  if (limit < credit.limit) return false;
  credit.limit = limit;
  return true;
}

/** What a receiver has granted, got and handed on. Always `taken ≤ received ≤ limit`. Times are monotonic, in ms. */
export interface ReceiveWindow {
  /** The offset that the peer has been told. */
  limit: number;
  received: number;
  /** What the application has taken: the base of the next limit. */
  taken: number;
  /** How far beyond `taken` the next limit lies. */
  size: number;
  /** Since when it is measured how fast the window is used; undefined before the first byte. */
  measuredAt: number | undefined;
  /** What had come by then: how fast a reader takes what has long waited for it says nothing of the network. */
  measuredFrom: number;
  /** Whether the reader has had all that had come at some moment since then. */
  caughtUp: boolean;
  /** Since when more than a quarter of the window has been unread all the time. */
  behindSince: number | undefined;
}

export function newWindow(size: number): ReceiveWindow {
  return {
    limit: size,
    received: 0,
    taken: 0,
    size,
    measuredAt: undefined,
    measuredFrom: 0,
    caughtUp: false,
    behindSince: undefined,
  };
}

/** What a stream's window may grow to. */
export interface WindowRules {
  /** The window that needs no reason. */
  readonly base: number;
  /** The window at most: what session and process have for one stream. */
  readonly max: number;
  /** What a stream gets even when there is no room, and what it counts for at least. */
  readonly share: number;
  /** The highest offset of all. */
  readonly maxOffset: number;
  /** The round trip in ms, which tells what is needed. Undefined until one was measured: nothing grows before. */
  readonly roundTripMs: number | undefined;
}

/** A window that is used up within so many round trips is too small: the next limit could come too late. */
const GROW_WITHIN_ROUND_TRIPS = 2.5;
/** What both ends take to wake up, so that a link of no delay needs some window, too, in ms. */
const MIN_ROUND_TRIP_MS = 1;
/** A window that was not used up for so long, or behind which the reader was for so long, is larger than it need be. */
const SHRINK_AFTER_ROUND_TRIPS = 8;
const UNUSED_MS = 2_000;
const BEHIND_MS = 500;
/** A limit never waits for more than this to be free: it has to reach the peer before the rest of the window is used. */
const MAX_STEP_BYTES = 1024 * 1024;

/** Counts bytes in. @returns false if they go beyond the limit: FLOW_CONTROL_ERROR. */
export function receive(window: ReceiveWindow, bytes: number, now: number): boolean {
  if (bytes > window.limit - window.received) return false;
  window.received += bytes;
  window.measuredAt ??= now;
  if (isBehind(window)) window.behindSince ??= now;
  return true;
}

/** Counts bytes that the application took. */
export function take(window: ReceiveWindow, bytes: number): void {
  window.taken += bytes;
  if (window.received === window.taken) window.caughtUp = true;
  if (!isBehind(window)) window.behindSince = undefined;
}

/** Whether half of the window would do, since limits go out once half of one is free, and a quarter waits even then. */
function isBehind({ received, taken, size }: ReceiveWindow): boolean {
  return received - taken > size / 4;
}

/** What the window counts for: what may still come or was not taken, and its share at least, which it may always have. */
export function charge(window: ReceiveWindow, share: number): number {
  return Math.max(share, window.limit - window.taken);
}

/**
 * The limit to send to the peer now, or undefined if it is too early: a limit goes out once at least half a window is
 * free. The window doubles while all of it is used within little more than two round trips by a reader that keeps up: then
 * the network could bring more. It halves, down to its base, when it is hardly used, or when the reader has long been what
 * limits; since limits never fall, a window shrinks as the bytes that were granted come in and no more are granted.
 * @param room what session and process have left, in bytes
 */
export function nextLimit(window: ReceiveWindow, rules: WindowRules, room: number, now: number): number | undefined {
  resize(window, rules, now);
  const outstanding = window.limit - window.taken;
  const wanted = Math.min(Math.max(window.size, rules.base), rules.max);
  // Not by the size that is wanted: near the end of the budget each byte taken would else raise the limit by one.
  const size = Math.max(rules.share, Math.min(wanted, charge(window, rules.share) + Math.max(0, room)));
  if (outstanding > size - Math.min(size / 2, MAX_STEP_BYTES)) return undefined;
  const limit = Math.min(window.taken + size, rules.maxOffset);
  if (limit <= window.limit) return undefined;
  window.size = size;
  return limit;
}

/** Judges the window by how fast it was used. */
function resize(window: ReceiveWindow, rules: WindowRules, now: number): void {
  const { size, behindSince, measuredAt = now } = window;
  const patience = SHRINK_AFTER_ROUND_TRIPS * (rules.roundTripMs ?? 0);
  if (behindSince !== undefined && now - behindSince > Math.max(BEHIND_MS, patience)) {
    shrink(window, rules);
    window.behindSince = now;
  }
  const used = window.taken - window.measuredFrom;
  const elapsed = now - measuredAt;
  if (used >= size) {
    if (window.caughtUp && isNeeded(size, used, elapsed, rules)) window.size = Math.min(2 * size, rules.max);
  } else if (elapsed > Math.max(UNUSED_MS, patience)) {
    shrink(window, rules);
  } else return;
  window.measuredAt = now;
  window.measuredFrom = window.received;
  window.caughtUp = false;
}

function isNeeded(size: number, used: number, elapsed: number, rules: WindowRules): boolean {
  if (rules.roundTripMs === undefined) return false;
  const roundTripMs = Math.max(MIN_ROUND_TRIP_MS, rules.roundTripMs);
  return elapsed < GROW_WITHIN_ROUND_TRIPS * roundTripMs * (used / size);
}

function shrink(window: ReceiveWindow, rules: WindowRules): void {
  window.size = Math.min(window.size, Math.max(rules.base, Math.floor(window.size / 2)));
}
