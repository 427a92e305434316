/** Every limit that both ends share, in one place; each name says its unit. */

const KIB = 1024;
const MIB = 1024 * KIB;

// frames and messages
/** The largest frame, header included; also the WebSocket's `maxPayload`. */
export const MAX_FRAME_BYTES = 1 * MIB;
/** The largest frame before hello and welcome are exchanged. */
export const MAX_FRAME_BYTES_BEFORE_HELLO = 4 * KIB;
/** The largest payload that a sender puts into one frame. */
export const FRAME_PAYLOAD_BYTES = 64 * KIB;
/** The largest message that is put together from frames with MORE. */
export const MAX_MESSAGE_BYTES = 4 * MIB;
/** The largest item, and the most values in it: many of them may wait for one reader. */
export const MAX_ITEM_BYTES = 256 * KIB;
export const MAX_ITEM_NODES = 10_000;
/** The deepest nesting of maps and arrays in one message. */
export const MAX_MESSAGE_DEPTH = 16;
/** The most values, map keys included, in one message. */
export const MAX_MESSAGE_NODES = 100_000;

// streams
/** Streams that may be open at once in one session, both ends together. */
export const MAX_OPEN_STREAMS = 256;
/** Streams opened and not yet answered by the peer. */
export const MAX_UNANSWERED_OPENS = 64;
/** Initial credit of each direction of a stream, in body bytes. */
export const INITIAL_WINDOW_BYTES = 256 * KIB;
/** The largest window of a stream whose reader keeps up, where the network takes it. */
export const MAX_WINDOW_BYTES = 16 * MIB;
/** The window a stream keeps even when its session's budget is used up. */
export const WINDOW_SHARE_BYTES = 64 * KIB;
/** The highest absolute limit a stream can reach: where doubles still count exactly. */
export const MAX_STREAM_OFFSET = Number.MAX_SAFE_INTEGER;
/** Body bytes one session may hold unread at the receiving end, over all its streams. */
export const SESSION_BUDGET_BYTES = 32 * MIB;
/** The largest `stream.signal` payload. */
export const MAX_SIGNAL_BYTES = 4 * KIB;
/** Signals per stream and second. */
export const MAX_SIGNALS_PER_SECOND = 50;
/** How long frames for a reset or closed stream are dropped before they count as a protocol error. */
export const CLOSED_STREAM_GRACE_MS = 30_000;

// sessions
export const HEARTBEAT_MS = 15_000;
/** Silence after which the peer counts as gone. */
export const SILENCE_MS = 45_000;
/** Time from TLS to hello, and from hello to welcome. */
export const HELLO_TIMEOUT_MS = 10_000;
/** How long running streams may go on after goaway. */
export const GOAWAY_DEADLINE_MS = 5_000;
/** Opens, and resets, that a peer may send per second, on average over the burst below. */
export const MAX_OPENS_PER_SECOND = 1_000;
export const MAX_RESETS_PER_SECOND = 1_000;
/** Control frames (pings, acks, windows, empty frames) that a peer may send per second. */
export const MAX_CONTROL_FRAMES_PER_SECOND = 20_000;
/** Messages on the control stream, acks aside (heartbeats, pings, pongs), that a peer may send per second. */
export const MAX_CONTROL_MESSAGES_PER_SECOND = 100;
/** The largest control message after the greeting, and the most values in it. */
export const MAX_CONTROL_MESSAGE_BYTES = 16 * KIB;
export const MAX_CONTROL_MESSAGE_NODES = 1_000;

/** A `session.ack` goes out once this many more frame bytes have come in, until the peer asks for another number … */
export const ACK_EVERY_BYTES = 16 * KIB;
/** … which is kept within these. */
export const MIN_ACK_EVERY_BYTES = 4 * KIB;
export const MAX_ACK_EVERY_BYTES = 1 * MIB;
/** Bytes that compressed frames may unpack to, per second. */
export const MAX_INFLATED_BYTES_PER_SECOND = 128 * MIB;
/** Pings that may wait for their pong. */
export const MAX_PENDING_PINGS = 64;
/** Control frames that may wait for a peer that does not read, in number and in bytes. */
export const MAX_QUEUED_CONTROL_FRAMES = 4096;
export const MAX_QUEUED_CONTROL_BYTES = 16 * MIB;
/** Bytes and messages that one stream may hold while they wait to be sent. */
export const MAX_QUEUED_STREAM_BYTES = 16 * MIB;

// reconnect
export const RECONNECT_MIN_MS = 1_000;
export const RECONNECT_MAX_MS = 60_000;
/** A session that stayed up this long resets the reconnect delay. */
export const RECONNECT_RESET_MS = 60_000;

// identity
export const AGENT_CERT_DAYS = 30;
export const SERVER_CERT_DAYS = 90;
export const CA_CERT_DAYS = 3650;
/** How far back a certificate's notBefore lies, for clocks that run behind. */
export const CERT_BACKDATE_MS = 5 * 60_000;
export const MAX_CSR_BYTES = 16 * KIB;

// names and texts
export const MAX_NAME_CHARS = 64;
export const MAX_TAGS = 32;
export const MAX_REASON_CHARS = 256;
