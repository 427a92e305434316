/** Limits of sessions with Hawser's agents: sizes, times and rates in one place. */

const KIB = 1024;
const MIB = 1024 * KIB;

/** From the connection to the hello. */
export const HELLO_MS = 10_000;
/** How often the agent is sent a ping: it counts nothing but messages as life, and waits 60 s for one. */
export const PING_MS = 20_000;
/** Silence after which the agent counts as gone. */
export const SILENT_MS = 90_000;
/** Time for an answer that is not streamed. The agent itself gives up after 30 s. */
export const REQUEST_MS = 30_000;
/** What an answer needs to come after the agent has given up. */
export const REQUEST_GRACE_MS = 2_000;
/** Requests and execs at once. */
export const MAX_OPEN = 256;

/** What waits for one reader: from here on the socket is paused, time and again and for a moment, for it to catch up … */
export const SOFT_BUFFER_BYTES = 1 * MIB;
/** … at once from here on, if there is a moment left for it … */
export const URGENT_BUFFER_BYTES = 4 * MIB;
/** … and here its stream ends. */
export const HARD_BUFFER_BYTES = 8 * MIB;
/** The same for all streams of a session; beyond it, the one that holds most ends. */
export const SESSION_BUFFER_BYTES = 32 * MIB;
/** How long one reader may hold up the others of its host, and how long the socket is read in between. */
export const PAUSE_MS = 1_000;
export const BETWEEN_PAUSES_MS = 50;
/** How long one reader may be behind without a break. */
export const BEHIND_MS = 5_000;
/** How much of the time the socket may be paused for readers that take less than so much meanwhile, and how long at once. */
export const PAUSES = { perSecond: 0.2, burstMs: 2_000 };
export const READER_BYTES_PER_MS = 1 * KIB;
/** Answers that came whole and are not read yet, of one session. */
export const SESSION_WHOLE_BYTES = 64 * MIB;
/** Those that are taken in any case: most say what a change did, which is done by then. */
export const SMALL_WHOLE_BYTES = 64 * KIB;
/** How long a reader of one may take, and from when on it goes if others need its room. */
export const WHOLE_MS = 120_000;
export const WHOLE_SLOW_MS = 10_000;

/** What may wait for an agent that does not read. */
export const MAX_UNSENT_BYTES = 16 * MIB;
/** From here on what is no request is not sent at all. */
export const UNSENT_NOTICE_BYTES = 1 * MIB;

/** Messages that are neither answers nor bytes (pings, metrics, events) and that are taken; others are dropped … */
export const NOTICES = { perSecond: 200, burst: 2_000 };
/** … and more than so many of those, or of messages that are not valid, end the session; over months a few add up to nothing. */
export const DROPPED = { perSecond: 100, burst: 20_000 };
export const INVALID = { perSecond: 0.1, burst: 100 };
/** Streams that ended here and that the agent still sends: they are told again, at most so often. */
export const MAX_ENDED = 1024;
export const END_AGAIN_MS = 200;
/** How long the agent may take to read why its session ends. */
export const CLOSE_MS = 1_000;

/** Between two frames of input: each is handled by itself in the agent, and those that come at once change places. */
export const INPUT_GAP_MS = 5;
/** The largest frame of input, and what waits to become one. */
export const INPUT_FRAME_BYTES = 32 * KIB;
export const INPUT_BUFFER_BYTES = 64 * KIB;
