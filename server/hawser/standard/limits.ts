/** Limits of what goes to agents of Hawser that listen: times, sizes and numbers in one place. */

const MIB = 1024 * 1024;

/** For DNS, TCP, TLS and a proxy. */
export const CONNECT_MS = 10_000;
/** The agent closes connections that nobody uses after 60 s: none is taken up that it may be about to close. */
export const IDLE_CONNECTION_MS = 20_000;
/** Connections to one agent; each exchange that is in progress has one. */
export const MAX_CONNECTIONS = 256;

/** What the agent gives to a call that it does not know as a streaming one, its body included, before it cuts it off … */
export const AGENT_CALL_MS = 30_000;
/** … which may look, from here, this much shorter. */
export const AGENT_CALL_SLACK_MS = 1_000;

/** The largest answer that is taken in whole. */
export const MAX_WHOLE_BYTES = 16 * MIB;
/** What is read of a refusal. */
export const MAX_REFUSAL_BYTES = 64 * 1024;
/** How long a refusal without a length is read. */
export const REFUSAL_MS = 1_000;
/** What one stream holds for its reader before the agent is not read from any more. */
export const STREAM_BUFFER_BYTES = 64 * 1024;

/** How long a command without a terminal may go on behind the end of its input, which it cannot be told. */
export const AFTER_INPUT_MS = 10_000;
/** What a process that is left has to take the keys that end most of them. */
export const FAREWELL_MS = 1_000;

/** How often an agent that answers is looked after, and how soon again when it did not. */
export const HEALTH_MS = 15_000;
export const HEALTH_RETRY_MS = 2_000;
/** The least between two looks, however many requests meet trouble. */
export const HEALTH_LEAST_MS = 250;
/** Time for one look. */
export const HEALTH_TIMEOUT_MS = 10_000;
/** Looks in a row that fail until the host counts as offline. */
export const HEALTH_FAILURES = 3;
/** Between attempts to reach an agent that is offline: ceilings of a backoff with jitter. */
export const RECONNECT = { minMs: 1_000, maxMs: 60_000 };
/** After a refused token: newer agents count ten failures a minute, and then refuse all. */
export const REFUSED_MS = 60_000;
/** Agents that are looked for at once, however many hosts there are. */
export const MAX_LOOKING = 16;
/** Hosts that the server dials. */
export const MAX_STANDARD_HOSTS = 1_000;
