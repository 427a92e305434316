/** Limits of what this agent is for a Dockhand server, in one place. */

const KIB = 1024;
const MIB = 1024 * KIB;

/** The version of Hawser whose protocol this agent speaks: servers ask by it what an agent can do. */
export const HAWSER_VERSION = '0.2.46';
/** A token: shorter ones can be guessed, longer ones do not fit into a hello. */
export const MIN_TOKEN_CHARS = 16;
export const MAX_TOKEN_CHARS = 512;

// Standard mode
/** Connections at once, and those of one address. */
export const MAX_CONNECTIONS = 512;
export const MAX_CONNECTIONS_OF_ADDRESS = 256;
/** Request line and headers; in Edge mode the headers alone. */
export const MAX_HEADER_BYTES = 64 * KIB;
export const HEADERS_MS = 10_000;
export const TLS_HANDSHAKE_MS = 10_000;
/** A connection between two requests, as with Hawser. */
export const IDLE_CONNECTION_MS = 60_000;
export const CHECK_MS = 5_000;
/** A request's body of which nothing comes for so long is given up. Docker may be slow to take one. */
export const BODY_IDLE_MS = 10 * 60_000;
/**
 * The body of a request for an upgrade, and of one to Compose (also in Edge mode), which are taken in whole; and how long
 * they may take.
 */
export const MAX_UPGRADE_BODY_BYTES = 256 * KIB;
export const MAX_COMPOSE_BODY_BYTES = 8 * MIB;
export const WHOLE_BODY_MS = 30_000;
export const KEEP_ALIVE_PROBE_MS = 15_000;
/** Wrong tokens of one address, each minute; addresses that are remembered. */
export const FAILURES_PER_MINUTE = 10;
export const MAX_FAILED_ADDRESSES = 4096;
/** How long answers and streams may go on once the agent stops. */
export const DRAIN_MS = 3_000;
/** How long a client may take to close a connection that is over. */
export const END_MS = 1_000;

// Compose
/** What Compose prints, as far as it is kept for the answer. */
export const MAX_COMPOSE_OUTPUT_CHARS = 1 * MIB;

// Edge mode
/** The largest message of a server that is taken in; an upload comes in one. */
export const MAX_INBOUND_BYTES = 32 * MIB;
/** Streams, and terminals, that a server may have open at once, as with Hawser. */
export const MAX_STREAMS = 100;
export const MAX_EXECS = 100;
/** Requests that are answered whole, at once. */
export const MAX_REQUESTS = 256;
/** Answers that are held whole until they are sent, all together. */
export const MAX_HELD_BYTES = 96 * MIB;
/** What has come of requests and is kept: bodies until Docker has taken them, and what Compose is asked. */
export const MAX_TAKEN_BYTES = 96 * MIB;
/** How long Docker may take for an answer that is sent whole: as long as a server waits for any. */
export const REQUEST_MS = 300_000;
/** Bytes of a stream or a terminal that go into one message. */
export const CHUNK_BYTES = 32 * KIB;
/** From so many unsent bytes on, streams wait, and what nobody waits for is dropped. */
export const UNSENT_BYTES = 1 * MIB;
/** What waits for a server that asks and does not read, besides streams and whole answers, which have limits of their own. */
export const MAX_SAID_BYTES = 32 * MIB;
/** What a message takes that waits, besides its text. */
export const MESSAGE_COST_BYTES = 512;
/** Input that waits for a terminal that does not read, and for all of them together. */
export const MAX_INPUT_BYTES = 4 * MIB;
export const MAX_ALL_INPUT_BYTES = 32 * MIB;
export const WELCOME_MS = 30_000;
export const PING_MS = 30_000;
/** A server that says nothing for so long, or takes nothing, counts as gone. */
export const SILENT_MS = 90_000;
export const METRICS_MS = 30_000;
/** How long a server may take to close a connection that is over. */
export const CLOSE_MS = 1_000;
/** Messages that are not valid, after which the connection ends. */
export const MAX_INVALID = 20;
