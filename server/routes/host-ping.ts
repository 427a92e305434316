/** How far a host is, and how much its link takes: pings and throughput tests, as NDJSON while they go on. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { hundredths } from '../../shared/link-figures.ts';
import { MAX_THROUGHPUT_BYTES } from '../../shared/messages/host.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { type RoundTripSummary, RoundTrips, roundTrips } from '../hosts/round-trips.ts';
import { measureThroughput, type ThroughputDirection, type ThroughputResult } from '../hosts/throughput.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import {
  MAX_PING_RUN_MS,
  MAX_PINGS,
  MAX_THROUGHPUT_TEST_MS,
  MIN_PING_INTERVAL_MS,
  PING_RUNS,
  THROUGHPUT_TESTS,
} from './limits.ts';
import { clientGone, type LiveStream } from './live-streams.ts';
import { HostParams } from './schemas.ts';
import { Slots } from './slots.ts';
import { NDJSON, sendBody } from './stream-body.ts';

const strict = { additionalProperties: false };
const whole = (minimum: number, maximum: number, description: string) =>
  Type.Optional(Type.Integer({ minimum, maximum, description }));

const PingBody = Type.Union([
  Type.Object(
    {
      count: whole(1, MAX_PINGS, '5 unless given'),
      intervalMs: whole(MIN_PING_INTERVAL_MS, 60_000, 'From one ping to the next; 1000 unless given'),
      timeoutMs: whole(100, 30_000, 'How long an answer may take; 5000 unless given'),
    },
    strict,
  ),
  Type.Null(),
]);

const Direction = Type.Union([Type.Literal('to-host'), Type.Literal('from-host'), Type.Literal('both')]);
const ThroughputBody = Type.Union([
  Type.Object(
    {
      direction: Type.Optional(Direction),
      ms: whole(
        100,
        MAX_THROUGHPUT_TEST_MS,
        `How long each direction is tested; ${MAX_THROUGHPUT_TEST_MS} unless given`,
      ),
      maxBytes: whole(1, MAX_THROUGHPUT_BYTES, 'The most bytes in each direction'),
    },
    strict,
  ),
  Type.Null(),
]);

export function hostPingRoutes(api: Api, context: RouteContext): void {
  pingRoute(api, context);
  throughputRoute(api, context);
}

function pingRoute(api: Api, context: RouteContext): void {
  const runs = new Slots('pings', PING_RUNS);
  api.post(
    '/api/v1/hosts/:host/ping',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['hosts'],
        summary: 'Measures the round trip to a host and back, past whatever else is on its way',
        description:
          'NDJSON: for each ping `{type: "ping", seq, roundTripMs}`, null if it was not answered in time, then ' +
          '`{type: "summary", sent, received, minMs, avgMs, p99Ms, maxMs}`.',
        params: HostParams,
        body: PingBody,
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const { count = 5, intervalMs = 1000, timeoutMs = 5000 } = request.body ?? {};
      if (count * intervalMs > MAX_PING_RUN_MS) {
        throw new FairleadError(
          'VALIDATION',
          `${count} pings ${intervalMs} ms apart take longer than ${MAX_PING_RUN_MS / 60_000} minutes; ask for fewer`,
        );
      }
      return await stream(context, request, reply, request.params.host, runs, async (connect, { signal }) => {
        const plan = { count, intervalMs, timeoutMs };
        return await begun(pingRecords(roundTrips(await connect(), plan, context.deps.clock, signal)));
      });
    },
  );
}

function throughputRoute(api: Api, context: RouteContext): void {
  const tests = new Slots('throughput tests', THROUGHPUT_TESTS);
  api.post(
    '/api/v1/hosts/:host/throughput',
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['hosts'],
        summary: 'Measures what the link to a host takes, by filling it for a moment',
        description:
          'NDJSON: for each direction `{type: "throughput", direction, bytes, bytesPerSecond, loaded}`, with the round ' +
          'trips meanwhile, `{sent, received, minMs, avgMs, p99Ms, maxMs}`. The bytes are of the bulk class: terminals ' +
          'and calls go before them, other transfers share the link with them.',
        params: HostParams,
        body: ThroughputBody,
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const { host } = request.params;
      const body = request.body ?? {};
      return await stream(context, request, reply, host, tests, async (connect, live) => {
        const action = { action: 'host.throughput', target: host, detail: { direction: body.direction ?? 'both' } };
        return await audited(context.deps, request, action, async () => {
          return await begun(throughputRecords(await connect(), body, context, live.signal));
        });
      });
    },
  );
}

/** Answers with the records that `begin` makes; what fails before the first of them is a problem. */
async function stream(
  { deps, links, live }: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  host: string,
  slots: Slots,
  begin: (connect: () => Promise<HostLink>, live: LiveStream) => Promise<AsyncGenerator<string>>,
): Promise<FastifyReply> {
  const held = live.beginFor(reply.raw, principalOf(request), 'endless');
  let release: (() => void) | undefined;
  try {
    const connect = async () => {
      const link = await links.to(request, host);
      release = slots.take(link.hostId);
      return link;
    };
    const chunks = await begin(connect, held);
    await sendBody(request, reply, { contentType: NDJSON, chunks, live: held, clock: deps.clock });
  } finally {
    // Whatever still goes on for a client that is gone.
    held.end(clientGone());
    held.release();
    release?.();
  }
  return reply;
}

/** `records` once the first of them is there. */
async function begun(records: AsyncGenerator<string>): Promise<AsyncGenerator<string>> {
  const first = await records.next();
  return (async function* () {
    if (!first.done) yield first.value;
    yield* records;
  })();
}

async function* pingRecords(trips: AsyncIterable<number | undefined>): AsyncGenerator<string> {
  const all = new RoundTrips();
  let seq = 0;
  for await (const ms of trips) {
    all.add(ms);
    seq += 1;
    yield record({ type: 'ping', seq, roundTripMs: ms === undefined ? null : hundredths(ms) });
  }
  yield record({ type: 'summary', ...summaryView(all.summary) });
}

async function* throughputRecords(
  link: HostLink,
  body: NonNullable<Static<typeof ThroughputBody>>,
  { deps: { clock } }: RouteContext,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const { direction = 'both', ms = MAX_THROUGHPUT_TEST_MS, maxBytes = MAX_THROUGHPUT_BYTES } = body;
  const directions: ThroughputDirection[] = direction === 'both' ? ['to-host', 'from-host'] : [direction];
  for (const each of directions) {
    const result = await measureThroughput(link, { direction: each, ms, bytes: maxBytes }, { clock, signal });
    yield record(throughputView(result));
  }
}

function throughputView({ direction, bytes, bytesPerSecond, loaded }: ThroughputResult): object {
  const rate = bytesPerSecond === undefined ? null : Math.round(bytesPerSecond);
  return { type: 'throughput', direction, bytes, bytesPerSecond: rate, loaded: summaryView(loaded) };
}

function summaryView({ sent, received, trips }: RoundTripSummary): object {
  const shown = (ms: number | undefined) => (ms === undefined ? null : hundredths(ms));
  const { minMs, avgMs, p99Ms, maxMs } = trips ?? {};
  return { sent, received, minMs: shown(minMs), avgMs: shown(avgMs), p99Ms: shown(p99Ms), maxMs: shown(maxMs) };
}

function record(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
