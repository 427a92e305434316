/** What sessions measure of their link, as the API tells it. */
import Type, { type Static } from 'typebox';

const Bytes = Type.Integer({ minimum: 0 });
const Millis = Type.Number({ minimum: 0 });
const Queued = Type.Object({ control: Bytes, interactive: Bytes, bulk: Bytes });

/** What one end of a session knows of what it sends; null is what it does not know yet. */
export const LinkDirection = Type.Object({
  roundTripIdleMs: Type.Union([Millis, Type.Null()], { description: 'The smallest round trip of late' }),
  roundTripMs: Type.Union([Millis, Type.Null()], { description: 'The round trip now, with what waits on the way' }),
  deliveryBytesPerSecond: Type.Union([Bytes, Type.Null()], {
    description: 'How fast bytes arrived when there was last more to send than the link took',
  }),
  inFlightBytes: Bytes,
  inFlightLimitBytes: Type.Union([Bytes, Type.Null()]),
  queuedBytes: Queued,
  creditStarvedMs: Type.Number({
    minimum: 0,
    description: 'Time in which streams waited for credit, summed over them',
  }),
  socketBlockedMs: Type.Number({ minimum: 0, description: 'Time in which the socket took no more' }),
});
export type LinkDirection = Static<typeof LinkDirection>;

/** Payload bytes of compressed frames, before and after. */
const Compressed = Type.Object({ rawBytes: Bytes, wireBytes: Bytes });

/** What a session has measured. */
export const LinkView = Type.Object({
  bytesIn: Bytes,
  bytesOut: Bytes,
  openStreams: Bytes,
  memoryBytes: Type.Integer({
    minimum: 0,
    description: 'What its streams hold on the server, or have promised to take',
  }),
  compressedIn: Compressed,
  compressedOut: Compressed,
  toAgent: LinkDirection,
  fromAgent: Type.Union([LinkDirection, Type.Null()], {
    description: 'As the agent says with its last heartbeat; null until it has measured something',
  }),
});
export type LinkView = Static<typeof LinkView>;
