/** Limits of the API: sizes, times and rates in one place. */
import type {} from '@fastify/rate-limit';
import type { FastifyRequest } from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import type { Api } from './app-types.ts';
import type { ApiLimits } from './deps.ts';

/** The largest JSON body of a route that does not set its own. */
export const MAX_BODY_BYTES = 256 * 1024;
export const MAX_ENROLL_BODY_BYTES = 64 * 1024;
/** Request line and headers; the arguments of an exec are in its URL. */
export const MAX_HEADER_BYTES = 64 * 1024;
/** Streams (followed logs, statistics, execs) that clients hold open at once. */
export const MAX_LIVE_STREAMS = 4096;
/** Addresses that one rate limit remembers. */
export const MAX_RATE_ADDRESSES = 5000;
/** What one host may answer to a list, in items and in bytes of JSON. */
export const MAX_LIST_ITEMS = 10_000;
export const MAX_LIST_BYTES = 32 * 1024 * 1024;
/** Time for one host in a question to all hosts. */
export const FAN_OUT_HOST_MS = 5_000;
/** Hosts that are asked at once. */
export const FAN_OUT_HOSTS = 32;
/** Time that Docker gets beyond the time it waits for a container to stop. */
export const CHANGE_MS = 30_000;
/** How long a stop may take whose time is the container's own affair. */
export const STOP_MS = 120_000;
/** The longest wait for any change. */
export const MAX_CHANGE_MS = 3_700_000;

/** A flood is stopped; a fleet that enrolls from behind one NAT is not. */
const DEFAULTS: ApiLimits = {
  enrollsPerMinute: 300,
  enrollsPerMinuteInTotal: 3_000,
  refusedEnrollsPerMinute: 60,
  refusedLoginsPerMinute: 30,
};

/** Counts a request, by its address unless `inTotal`. @throws FairleadError RATE_LIMITED with the time to wait */
export function limiter(
  api: Api,
  name: keyof ApiLimits,
  limits: Partial<ApiLimits> = {},
  inTotal = false,
): (request: FastifyRequest) => Promise<void> {
  const max = limits[name] ?? DEFAULTS[name];
  const count = api.createRateLimit({
    max,
    timeWindow: 60_000,
    ...(inTotal ? { keyGenerator: () => 'all' } : {}),
  });
  return async (request) => {
    const found = await count(request);
    if (found.isAllowed || !found.isExceeded) return;
    throw new FairleadError('RATE_LIMITED', `too many requests from this address: at most ${max} a minute`, {
      retryAfterSeconds: found.ttlInSeconds,
    });
  };
}
