/** Limits of the API: sizes, times and rates in one place. */
import type {} from '@fastify/rate-limit';
import type { FastifyRequest } from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import type { Api } from './app-types.ts';
import type { ApiLimits } from './deps.ts';

const MIB = 1024 * 1024;

/** The largest JSON body of a route that does not set its own. */
export const MAX_BODY_BYTES = 256 * 1024;
/** A Compose file with its variables, whose characters may be escaped. */
export const MAX_STACK_BODY_BYTES = 1 * MIB;
const MAX_ENROLL_BODY_BYTES = 64 * 1024;
/** Hosts, and serials, that one call may revoke; more with a tag. */
export const MAX_REVOCATIONS = 10_000;
export const MAX_REVOCATION_BODY_BYTES = 1 * MIB;
/** Request line and headers; the arguments of an exec are in its URL. */
export const MAX_HEADER_BYTES = 64 * 1024;
/** Streams (followed logs, statistics, execs) that clients hold open at once. */
export const MAX_LIVE_STREAMS = 4096;
/** … of one token: a quarter, so that none shuts out the others. */
export const MAX_LIVE_STREAMS_OF_TOKEN = MAX_LIVE_STREAMS / 4;
/**
 * Connections at once: one for every stream, and some for requests that come and go. What is beyond is dropped before it
 * costs anything, so that a flood of the API leaves descriptors for the agents.
 */
export const MAX_CONNECTIONS = MAX_LIVE_STREAMS + 1024;
/**
 * From so many on, the connection that nobody uses for longest gives way to a new one. What is between the two is room for
 * those that come before its end is through.
 */
export const CONNECTION_PLACES = {
  total: MAX_CONNECTIONS - 512,
  idleOfAddress: 1024,
  inUseOfOne: MAX_LIVE_STREAMS_OF_TOKEN + 256,
};
/** From an upgrade to its whole answer; longer than a host may take to begin what was asked for. */
export const UPGRADE_MS = 60_000;
/** How long a client may take to close a connection that is over. */
export const END_MS = 1_000;
/** What one host may answer to one question, in items and in bytes of JSON. */
export const MAX_LIST_ITEMS = 10_000;
export const MAX_LIST_BYTES = 16 * MIB;
/** What an item takes beside its text. */
export const LIST_ITEM_BYTES = 256;
/** The largest answer made of those of many hosts. */
export const MAX_ANSWER_BYTES = 64 * MIB;
/** What answers that are being put together or sent may hold, over all clients: of one host, and of all. */
export const MAX_HELD_BYTES_OF_HOST = 2 * MAX_LIST_BYTES;
export const MAX_HELD_BYTES = 128 * MIB;
/** Answers that are being put together or sent at once. */
export const MAX_HELD_ANSWERS = 1024;
/** Time for one host to list all that it has. */
export const LIST_MS = 30_000;
/** Time for a client to read an answer that is held for it. */
export const SEND_MS = 120_000;
/** Time for one host in a question to all hosts. */
export const FAN_OUT_HOST_MS = 5_000;
/** Containers, or stacks, that one bulk action may touch, and those at once. */
export const MAX_BULK_TARGETS = 5_000;
export const MAX_BULK_AT_ONCE = 32;
/** Bulk actions in progress: of one token's name, and in all. */
export const BULK_ACTIONS = { ofHost: 4, inAll: 64 };
/** Hosts that are asked at once. */
export const FAN_OUT_HOSTS = 32;
/** How long what a client follows waits for a host that went away. */
export const COMEBACK_MS = 300_000;
/** Time that Docker gets beyond the time it waits for a container to stop. */
export const CHANGE_MS = 30_000;
/** What takes Docker longer: to make or remove what has many files, and to remove all that is not used. */
export const LONG_CHANGE_MS = 150_000;
export const PRUNE_MS = 630_000;
/** How long a stop may take whose time is the container's own affair. */
export const STOP_MS = 120_000;
/** The longest wait for any change. */
export const MAX_CHANGE_MS = 3_700_000;
/** Pings of one request, and the shortest time between them. */
export const MAX_PINGS = 1000;
export const MIN_PING_INTERVAL_MS = 200;
/** The longest run of pings. */
export const MAX_PING_RUN_MS = 600_000;
/** Requests that ping at once. An agent takes 100 control messages a second; these make 20 of one host. */
export const PING_RUNS = { ofHost: 4, inAll: 256 };
/** How long a throughput test fills the link in each direction. */
export const MAX_THROUGHPUT_TEST_MS = 2_000;
/** Exchanges with a host's Docker, and changes, that it has not answered yet; the others wait. A session takes 64 unanswered streams. */
export const DOCKER_TURNS = { ofCaller: 24, ofHost: 48 };
/** Pulls of images, and tars in and out, that go on at once: of one caller's at a host, of all at it; and those that may wait. */
export const PULL_TURNS = { what: 'pulls of images', ofCaller: 4, ofHost: 8, waiting: 32 };
export const TAR_TURNS = { what: 'tars in and out', ofCaller: 16, ofHost: 32, waiting: 32 };
/** Throughput tests at once: each is there to fill a link, and all share the server's own. */
export const THROUGHPUT_TESTS = { ofHost: 1, inAll: 4 };
/** Connections to ports at once: a host's streams are not for these alone. */
export const TCP_CONNECTIONS = { ofHost: 128, inAll: 2048 };
/** Commands that are run to their end at once: what each has said comes in one piece, however many end together. */
export const EXEC_RUNS = { ofHost: 32, inAll: 256 };
/** Histories of metrics that are read at once, and snapshots of containers' statistics. */
export const METRIC_READS = { ofHost: 4, inAll: 16 };
export const STATS_READS = { ofHost: 2, inAll: 32 };
/** Time for a host to look at all its containers. */
export const STATS_MS = 30_000;
/** Time for a host to make one sample of what it uses. */
export const SAMPLE_MS = 10_000;
/** Downloads of agents at once, of one network and in all; a site behind one address may install many hosts together. */
export const AGENT_DOWNLOADS = { ofHost: 32, inAll: 128 };
/** Time for one of them, however it goes: an executable at 30 kB/s. */
export const AGENT_DOWNLOAD_MS = 1_800_000;
/** Checks of the audit log at once, and exports. */
export const AUDIT_READS = { ofHost: 2, inAll: 3 };

/** A flood is stopped; a fleet that enrolls from behind one NAT is not. */
const DEFAULTS: ApiLimits = {
  enrollsPerMinute: 300,
  enrollsPerMinuteInTotal: 3_000,
  refusedEnrollsPerMinute: 60,
  refusedLoginsPerMinute: 30,
  refusedLoginsPerMinuteInTotal: 600,
  requestsPerMinuteOfToken: 6_000,
  refusalRowsPerMinute: 120,
};

/** What a limit is, of those that were configured or else our own. */
export function limitOf(name: keyof ApiLimits, limits: Partial<ApiLimits> = {}): number {
  return limits[name] ?? DEFAULTS[name];
}

function rate(api: Api, name: keyof ApiLimits, limits: Partial<ApiLimits> | undefined, inTotal: boolean) {
  const max = limitOf(name, limits);
  const keys = inTotal ? { keyGenerator: () => 'all' } : {};
  return { max, count: api.createRateLimit({ max, timeWindow: 60_000, ...keys }) };
}

/** Counts by address, or all as one, what happens within a minute of the first. It remembers 5,000 addresses, those seen last. */
export function counter(api: Api, name: keyof ApiLimits, limits?: Partial<ApiLimits>, inTotal = false) {
  const { max, count } = rate(api, name, limits, inTotal);
  const ask = async (request: FastifyRequest, increment: boolean) => {
    const found = await count(request, { increment });
    // There is no list of those who are never counted.
    return found.isAllowed
      ? { count: 0, leftSeconds: 0 }
      : { count: max - found.remaining, leftSeconds: found.ttlInSeconds };
  };
  return {
    max,
    /** Counts one more. */
    add: (request: FastifyRequest) => ask(request, true),
    /** How many there were, `max` at most, and how long they still count. */
    read: (request: FastifyRequest) => ask(request, false),
  };
}

/** Counts a request, by its address unless `inTotal`. @returns RATE_LIMITED with the time to wait, if it is one too many */
export function meter(
  api: Api,
  name: keyof ApiLimits,
  limits: Partial<ApiLimits> = {},
  inTotal = false,
): (request: FastifyRequest) => Promise<FairleadError | undefined> {
  const { max, count } = rate(api, name, limits, inTotal);
  const whose = inTotal ? 'too many requests' : 'too many requests from this address';
  return async (request) => {
    const found = await count(request);
    if (found.isAllowed || !found.isExceeded) return undefined;
    return new FairleadError('RATE_LIMITED', `${whose}: at most ${max} a minute`, {
      retryAfterSeconds: found.ttlInSeconds,
    });
  };
}

/** As `meter`. @throws FairleadError RATE_LIMITED */
function limiter(...options: Parameters<typeof meter>): (request: FastifyRequest) => Promise<void> {
  const count = meter(...options);
  return async (request) => {
    const excess = await count(request);
    if (excess !== undefined) throw excess;
  };
}

/**
 * What a route sets that takes a host in by what is in the body, before which it knows nobody. @throws FairleadError
 * RATE_LIMITED, before the body is read
 */
export function publicEntry(api: Api, limits?: Partial<ApiLimits>) {
  const perAddress = limiter(api, 'enrollsPerMinute', limits);
  const inTotal = limiter(api, 'enrollsPerMinuteInTotal', limits, true);
  return {
    config: { access: 'public', scope: 'none' },
    bodyLimit: MAX_ENROLL_BODY_BYTES,
    onRequest: async (request: FastifyRequest) => {
      await perAddress(request);
      await inTotal(request);
    },
  } as const;
}
