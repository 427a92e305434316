/** A session's own figures in the form in which they are told: rounded, in units, and without what is not known. */
import type { LinkFigures } from './messages/link.ts';
import type { SessionStats } from './mux/session-stats.ts';

/** What `stats` says of this end's sending side. */
export function linkFigures({ link, queuedBytes, creditStarvedMs, socketBlockedMs }: SessionStats): LinkFigures {
  const { roundTripIdleMs, roundTripMs, deliveryRate, inFlightBytes, inFlightLimit } = link;
  return {
    ...(roundTripIdleMs === undefined ? {} : { roundTripIdleMs: hundredths(roundTripIdleMs) }),
    ...(roundTripMs === undefined ? {} : { roundTripMs: hundredths(roundTripMs) }),
    ...(deliveryRate === undefined ? {} : { deliveryBytesPerSecond: Math.round(deliveryRate) }),
    inFlightBytes: Math.round(inFlightBytes),
    ...(Number.isFinite(inFlightLimit) ? { inFlightLimitBytes: Math.round(inFlightLimit) } : {}),
    queuedBytes: { ...queuedBytes },
    creditStarvedMs: Math.round(creditStarvedMs),
    socketBlockedMs: Math.round(socketBlockedMs),
  };
}

/** The fields of `told` that this version knows: what a peer adds to them is not kept. */
export function knownFigures(told: LinkFigures): LinkFigures {
  const { roundTripIdleMs, roundTripMs, deliveryBytesPerSecond, inFlightLimitBytes } = told;
  const { control, interactive, bulk } = told.queuedBytes;
  return {
    ...(roundTripIdleMs === undefined ? {} : { roundTripIdleMs }),
    ...(roundTripMs === undefined ? {} : { roundTripMs }),
    ...(deliveryBytesPerSecond === undefined ? {} : { deliveryBytesPerSecond }),
    inFlightBytes: told.inFlightBytes,
    ...(inFlightLimitBytes === undefined ? {} : { inFlightLimitBytes }),
    queuedBytes: { control, interactive, bulk },
    creditStarvedMs: told.creditStarvedMs,
    socketBlockedMs: told.socketBlockedMs,
  };
}

/** A time in ms with two decimals: finer than anything that a network repeats. */
export function hundredths(ms: number): number {
  return Math.round(ms * 100) / 100;
}
