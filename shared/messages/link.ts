/** What one end of a session knows of what it sends, and of the network on the way, as it is told to others. */
import Type, { type Static } from 'typebox';

/** Far above anything real, and still exact: a peer's figures must not become infinite on their way to others. */
const amount = Type.Number({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

export const LinkFigures = Type.Object(
  {
    /** The smallest round trip of late: that of an idle link. */
    roundTripIdleMs: Type.Optional(amount),
    /** The round trip now, with what waits on the way. */
    roundTripMs: Type.Optional(amount),
    /** How fast bytes arrived at the peer when this end last had more to send than the link took. */
    deliveryBytesPerSecond: Type.Optional(count),
    /** Frame bytes that were sent and not acknowledged. */
    inFlightBytes: count,
    /** How many may be; absent: no limit. */
    inFlightLimitBytes: Type.Optional(count),
    /** What waits to be sent, by scheduling class. */
    queuedBytes: Type.Object({ control: count, interactive: count, bulk: count }, { additionalProperties: true }),
    /** Time in which streams had bytes to send and no credit, summed over streams since the session began. */
    creditStarvedMs: count,
    /** Time in which the socket took no more, since the session began. */
    socketBlockedMs: count,
  },
  { additionalProperties: true },
);
export type LinkFigures = Static<typeof LinkFigures>;
