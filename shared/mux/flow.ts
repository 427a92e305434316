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

/** What a receiver has granted, got and handed on. Always `taken ≤ received ≤ limit`. */
export interface ReceiveWindow {
  /** The offset that the peer has been told. */
  limit: number;
  received: number;
  /** What the application has taken: the base of the next limit. */
  taken: number;
  /** How far beyond `taken` the next limit lies. */
  size: number;
}

/** Counts bytes in. @returns false if they go beyond the limit: FLOW_CONTROL_ERROR. */
export function receive(window: ReceiveWindow, bytes: number): boolean {
  if (bytes > window.limit - window.received) return false;
  window.received += bytes;
  return true;
}

/** Counts bytes that the application took. */
export function take(window: ReceiveWindow, bytes: number): void {
  window.taken += bytes;
}

/** What a stream's window may grow to. */
export interface WindowRules {
  /** The window while the reader does not keep up. */
  readonly base: number;
  /** The window at most: a stream's fair share of the session's budget. */
  readonly max: number;
  /** What a stream gets even when the session's budget is used up. */
  readonly share: number;
  /** The highest offset of all. */
  readonly maxOffset: number;
}

/**
 * The limit to send to the peer now, or undefined if it is too early: a limit goes out once at least half a window is
 * free. The window doubles while the reader has taken everything that arrived, and falls back to its base when the
 * reader is what limits, so that a slow reader never makes its peer's bytes pile up here.
 * @param room what the session's budget has left, in bytes
 */
export function nextLimit(window: ReceiveWindow, rules: WindowRules, room: number): number | undefined {
  const unread = window.received - window.taken;
  const outstanding = window.limit - window.taken;
  if (unread > window.size / 2) window.size = Math.min(window.size, rules.base);
  if (outstanding > window.size / 2) return undefined;
  const wanted = Math.min(unread === 0 ? 2 * window.size : window.size, rules.max);
  const size = Math.max(rules.share, Math.min(wanted, outstanding + Math.max(0, room)));
  // Again by the size that it can have: near the end of the budget each byte taken would else raise the limit by one.
  if (outstanding > size / 2) return undefined;
  const limit = Math.min(window.taken + size, rules.maxOffset);
  if (limit <= window.limit) return undefined;
  window.size = size;
  return limit;
}
