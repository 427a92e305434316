/** The events of a host, as its agent hands them over. Codes 0x0210 to 0x021f. */
import Type, { type Static } from 'typebox';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
/** What one reply holds at most. */
export const MAX_EVENTS_OF_REPLY = 256;
export const MAX_EVENT_ATTRIBUTES = 32;
export const MAX_ATTRIBUTE_NAME_CHARS = 128;
export const MAX_ATTRIBUTE_CHARS = 256;
export const MAX_EVENT_ACTION_CHARS = 256;
export const MAX_EVENT_ID_CHARS = 256;
/** The latest time, ns since 1970: its microseconds are still counted exactly by a double. */
export const MAX_EVENT_NANOS = 9e18;

const sequence = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const feed = Type.String({ minLength: 1, maxLength: 64 });

/**
 * One of Docker's events, in its own words and trimmed to these limits; or one of the agent's own: `docker` with `reachable`
 * or `unreachable`, and `events` with `gap` where some are missing.
 */
export const HostEvent = Type.Object(
  {
    /** What it happened to: container, network, … */
    type: Type.String({ maxLength: 32, pattern: '^[a-z][a-z0-9-]*$' }),
    action: Type.String({ minLength: 1, maxLength: MAX_EVENT_ACTION_CHARS }),
    /** Of what it happened to; empty if it has none. */
    id: Type.String({ maxLength: MAX_EVENT_ID_CHARS }),
    attributes: Type.Record(
      Type.String({ maxLength: MAX_ATTRIBUTE_NAME_CHARS }),
      Type.String({ maxLength: MAX_ATTRIBUTE_CHARS }),
      { maxProperties: MAX_EVENT_ATTRIBUTES },
    ),
    /** When, by the clock of the host, in ns since 1970, as exactly as a double has it. */
    timeNano: Type.Number({ minimum: 0, maximum: MAX_EVENT_NANOS }),
  },
  closed,
);
export type HostEvent = Static<typeof HostEvent>;

/**
 * The events behind `after`, as soon as there is one. An agent keeps what it was not told to have arrived: what `after` names
 * of its own `feed` it forgets. To whoever names another feed, or none, it gives what Docker remembers since `sinceMicros`.
 * One reply at a time instead of one long stream: that would hold a window for each host, for ever.
 */
export const hostEvents = {
  code: 0x0210,
  name: 'host.events',
  from: 'server',
  role: 'viewer',
  policy: 'read',
  priority: 'bulk',
  compressible: true,
  params: Type.Object(
    {
      feed: Type.Optional(feed),
      after: Type.Optional(sequence),
      /** When the last event happened that is known, by the clock of the host, in µs since 1970. */
      sinceMicros: Type.Optional(sequence),
    },
    closed,
  ),
  reply: Type.Object(
    {
      feed,
      /** To be named as `after` once these have arrived. */
      last: sequence,
      events: Type.Array(HostEvent, { maxItems: MAX_EVENTS_OF_REPLY }),
    },
    closed,
  ),
  bytes: 'none',
} as const satisfies StreamKind;
