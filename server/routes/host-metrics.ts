/** What hosts use: now, over a time, and all of them side by side. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { hostMetrics } from '../../shared/messages/metrics.ts';
import { principalOf, scopeOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { METRIC_READS, SAMPLE_MS } from './limits.ts';
import type { LiveStream } from './live-streams.ts';
import {
  HostWithMetrics,
  historyView,
  LatestMetrics,
  latestView,
  MetricsAnswer,
  withMetrics,
} from './metric-schemas.ts';
import { readStep, readTime } from './metric-times.ts';
import { HostParams, PAGE_QUERY, pageOf } from './schemas.ts';
import { Slots } from './slots.ts';
import { pageRequest } from './views.ts';

const strict = { additionalProperties: false };
const DEFAULT_FROM = '-1h';
const Time = (description: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 40, pattern: '^[0-9A-Za-z:.+ -]+$', description }));

const HistoryQuery = Type.Object(
  {
    from: Time(`RFC 3339, Unix seconds, or how long ago, as -1h or -7d; ${DEFAULT_FROM} unless given`),
    to: Time('Likewise; now unless given'),
    step: Time('Seconds, or a duration such as 30s, 5m, 1h; unless given, what makes at most 1,000 points'),
  },
  strict,
);
const Tag = Type.String({ minLength: 1, maxLength: 64 });

export function hostMetricsRoutes(api: Api, context: RouteContext): void {
  historyRoute(api, context);
  latestRoute(api, context);
  fleetRoute(api, context);
}

function historyRoute(api: Api, { deps, live }: RouteContext): void {
  const reads = new Slots('histories of metrics', METRIC_READS);
  api.get(
    '/api/v1/hosts/:host/metrics',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['metrics'],
        summary: 'What a host used over a time: average, least and most of each step',
        params: HostParams,
        querystring: HistoryQuery,
        response: { 200: MetricsAnswer },
      },
    },
    async (request, reply) => {
      const { from = DEFAULT_FROM, to = 'now', step } = request.query;
      const now = deps.clock.now() / 1000;
      const asked = {
        from: readTime('from', from, now),
        to: readTime('to', to, now),
        ...(step === undefined ? {} : { step: readStep(step) }),
      };
      const { id } = await deps.hosts.get(request.params.host);
      const giveBack = reads.take(id);
      try {
        return await whileThere(live.beginFor(reply.raw, principalOf(request)), async (signal) =>
          historyView(await deps.hostMetrics.history(id, asked, signal)),
        );
      } finally {
        giveBack();
      }
    },
  );
}

function latestRoute(api: Api, context: RouteContext): void {
  const { deps } = context;
  api.get(
    '/api/v1/hosts/:host/metrics/latest',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['metrics'],
        summary: 'The last sample of what a host uses',
        params: HostParams,
        querystring: Type.Object(
          { fresh: Type.Optional(Type.Boolean({ description: 'Asks the host for one, which takes a second' })) },
          strict,
        ),
        response: { 200: LatestMetrics },
      },
    },
    async (request, reply) => {
      if (request.query.fresh === true) return await freshSample(context, request, reply, request.params.host);
      const { id, name } = await deps.hosts.get(request.params.host);
      const latest = deps.hostMetrics.latest(id);
      if (latest !== undefined) return latestView(latest, deps.clock.now());
      throw new FairleadError(
        'NOT_FOUND',
        `the host ${name} has sent no sample since the server's start: it is not connected, its agent is too old, its ` +
          'policy denies host.metrics, or they are off (--metrics-interval)',
      );
    },
  );
}

async function freshSample(
  { deps, links, live }: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  host: string,
): Promise<LatestMetrics> {
  return await whileThere(live.beginFor(reply.raw, principalOf(request)), async (signal) => {
    const link = await links.to(request, host);
    const { sample } = await link.call(hostMetrics, {}, { signal, timeoutMs: SAMPLE_MS });
    const receivedAt = deps.clock.now();
    return latestView({ sample, receivedAt }, receivedAt);
  });
}

function fleetRoute(api: Api, { deps }: RouteContext): void {
  api.get(
    '/api/v1/metrics/hosts',
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['metrics'],
        summary: 'The last sample of each host, in the order of their names',
        querystring: Type.Object(
          {
            ...PAGE_QUERY,
            tag: Type.Optional(Type.Array(Tag, { maxItems: 32, description: 'Hosts with all of these tags' })),
          },
          strict,
        ),
        response: { 200: pageOf(HostWithMetrics) },
      },
    },
    async (request) => {
      const { tag = [], ...page } = request.query;
      const found = await deps.hosts.list(pageRequest(page), scopeOf(request));
      const now = deps.clock.now();
      // Revoked ones are no part of the fleet. A page may so have fewer hosts than it might.
      const hosts = found.items.filter(
        (host) => host.state !== 'revoked' && tag.every((one) => host.tags.includes(one)),
      );
      return {
        items: hosts.map((host) => withMetrics(host, deps.hostMetrics, now)),
        nextCursor: found.nextCursor ?? null,
      };
    },
  );
}

/** Does `work`, which is told when nobody waits for it any more. */
async function whileThere<T>(stream: LiveStream, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  try {
    return await work(stream.signal);
  } finally {
    stream.release();
  }
}
