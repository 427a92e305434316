/** What the containers of a host use now, all at once. */
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { ContainerUse, hostStats } from '../../shared/messages/metrics.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HeldAnswer } from './answer-budget.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { answerOfHosts, jsonArray, textOf } from './host-answer.ts';
import { withDeadline } from './host-lists.ts';
import { STATS_MS, STATS_READS } from './limits.ts';
import { HostParams, Instant } from './schemas.ts';
import { Slots } from './slots.ts';
import { instant } from './views.ts';

/** As the wire has it, but for the error, which is told as a problem is. */
const ContainerUseView = Type.Object({
  ...ContainerUse.properties,
  error: Type.Optional(
    Type.Object(
      { code: Type.String(), detail: Type.String() },
      { description: 'Why there are no figures of this one' },
    ),
  ),
});

export type ContainerUseView = Static<typeof ContainerUseView>;

const StatsAnswer = Type.Object({
  time: Instant,
  items: Type.Array(ContainerUseView, { description: 'Running containers, by name' }),
});

export type StatsAnswer = Static<typeof StatsAnswer>;

export function hostStatsRoute(api: Api, context: RouteContext): void {
  const { deps, links } = context;
  const reads = new Slots('snapshots of statistics', STATS_READS);
  api.get(
    '/api/v1/hosts/:host/stats',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['metrics'],
        summary: 'What each running container of a host uses now, counted as `docker stats --no-stream` does',
        params: HostParams,
        querystring: Type.Object({}, { additionalProperties: false }),
        response: { 200: StatsAnswer },
      },
    },
    async (request, reply) =>
      await answerOfHosts(context, request, reply, async (held, signal) => {
        const link = await links.to(request, request.params.host);
        const giveBack = reads.take(link.hostId);
        try {
          const listed = await withDeadline(deps.clock, STATS_MS, signal, (ending) => collect(link, held, ending));
          return texts(instant(deps.clock.now()), listed);
        } finally {
          giveBack();
        }
      }),
  );
}

interface Listed {
  readonly name: string;
  readonly text: Buffer;
}

async function collect(link: HostLink, held: HeldAnswer, signal: AbortSignal): Promise<Listed[]> {
  const stream = await link.open(hostStats, {}, { signal });
  const listed: Listed[] = [];
  try {
    for await (const { error, ...use } of stream.items()) {
      signal.throwIfAborted();
      const problem = error === undefined ? {} : { error: { code: error.code, detail: error.message } };
      listed.push({ name: use.name, text: textOf(held, link.hostId, { ...use, ...problem }) });
    }
  } catch (error) {
    held.drop(link.hostId);
    const isKnown = error instanceof FairleadError;
    stream.reset(
      isKnown ? error : new FairleadError('INTERNAL', 'the snapshot failed on the server', { cause: error }),
    );
    throw error;
  }
  return listed.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

function* texts(time: string, listed: readonly Listed[]): Generator<Buffer | string> {
  yield `{"time":${JSON.stringify(time)},"items":`;
  yield* jsonArray(listed.map(({ text }) => text));
  yield '}';
}
