/** What a session knows of its network, from the acks and pongs of its peer. */

export interface LinkStats {
  /** The smallest round trip of late, in ms: that of an idle link. Undefined until one was measured. */
  readonly roundTripIdleMs: number | undefined;
  /** The round trip now, in ms, smoothed: with what waits on the way. */
  readonly roundTripMs: number | undefined;
  /** Bytes per second that the peer's acks showed arriving when this end last had more to send than the link took. */
  readonly deliveryRate: number | undefined;
  /** As `deliveryRate`, but undefined once the link has not been full for 10 s: it may have become another. */
  deliveryRateAt(now: number): number | undefined;
  /** Frame bytes sent and not acknowledged. */
  readonly inFlightBytes: number;
  /** What may be in flight: near bandwidth × delay. */
  readonly inFlightLimit: number;
  /** The payload of a full frame, in bytes: smaller on a slow link. */
  readonly payloadBytes: number;
}
