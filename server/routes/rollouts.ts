/** Rollouts of releases of the agent: begun, looked at, paused, resumed and aborted. */
import Type, { type Static } from 'typebox';
import { RolloutOptions, RolloutSelect, Stage } from '../rollouts/options.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import type { ListedHost, Rollout } from './deps/rollouts.ts';
import { RELEASE_CHOICE } from './host-upgrades.ts';
import { IdParams, Instant, PAGE_QUERY, PageQuery, pageOf, Text } from './schemas.ts';
import { instant, instantOrNull, pageRequest, pageView } from './views.ts';

const PATH = '/api/v1/rollouts';
const TAGS = ['agents'];
const strict = { additionalProperties: false };
const nullable = <const S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
const count = Type.Integer({ minimum: 0 });

const NewRollout = Type.Object(
  {
    ...RELEASE_CHOICE,
    select: RolloutSelect,
    start: Type.Optional(Type.Boolean({ description: 'Unless false: begins at once; else once it is resumed' })),
    ...Type.Partial(RolloutOptions).properties,
  },
  strict,
);

const FiguresView = Type.Object({
  hosts: count,
  pending: Type.Integer({ minimum: 0, description: 'Whose turn has not come' }),
  waiting: Type.Integer({ minimum: 0, description: 'Whose turn has come, and that are offline' }),
  asked: Type.Integer({ minimum: 0, description: 'Under way' }),
  ...{ done: count, failed: count },
  skipped: Type.Integer({ minimum: 0, description: 'That the release is not for, or that did not come back' }),
  cancelled: Type.Integer({ minimum: 0, description: 'Whose turn had not come when it was aborted' }),
});

export const RolloutView = Type.Object({
  id: Text,
  version: Text,
  sequence: Type.Integer(),
  state: Type.Enum(['planned', 'running', 'paused', 'halted', 'done', 'aborted']),
  reason: Type.Union([Text, Type.Null()], { description: 'Why it is paused or halted' }),
  stage: Type.Integer({ minimum: 1, description: 'The one that goes on, or comes next' }),
  stageAt: Type.Union([Instant, Type.Null()], { description: 'When the next stage begins, while it waits for that' }),
  figures: FiguresView,
  stages: Type.Array(Type.Object({ hosts: Stage, figures: FiguresView })),
  select: RolloutSelect,
  options: Type.Omit(RolloutOptions, ['stages']),
  createdBy: Text,
  createdAt: Instant,
  endedAt: Type.Union([Instant, Type.Null()], { description: 'When the last of its hosts had its end' }),
});
export type RolloutView = Static<typeof RolloutView>;

const HOST_STATES = ['pending', 'asked', 'done', 'failed', 'skipped', 'cancelled'] as const;
export const RolloutHostView = Type.Object({
  host: Type.String({ description: "The host's name" }),
  hostId: Text,
  stage: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()], { description: 'null: the release is not for it' }),
  state: Type.Enum([...HOST_STATES, 'waiting']),
  code: nullable(Text),
  detail: nullable(Text),
  askedAt: nullable(Instant),
  endedAt: nullable(Instant),
});
export type RolloutHostView = Static<typeof RolloutHostView>;

const HostsQuery = Type.Object({ ...PAGE_QUERY, state: Type.Optional(Type.Enum([...HOST_STATES])) }, strict);

export function rolloutRoutes(api: Api, context: RouteContext): void {
  createRoute(api, context);
  readRoutes(api, context);
  commandRoute(api, context, 'pause', 'Asks no host any more, until it is resumed; those under way reach their end');
  commandRoute(
    api,
    context,
    'resume',
    'Begins what is planned, goes on with what is paused or halted, or with the next stage',
  );
  commandRoute(api, context, 'abort', 'Ends it: no host is asked any more, and those under way reach their end');
}

function createRoute(api: Api, { deps }: RouteContext): void {
  api.post(
    PATH,
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        ...{ tags: TAGS, summary: 'Brings a release of the agent to many hosts, stage after stage' },
        description:
          'A stage is over once all of its hosts that are there have had their end, and at least one was upgraded; those that ' +
          'are offline are asked when they come. It halts by itself when too many fail. A host is in one rollout at a time.',
        body: NewRollout,
        response: { 201: RolloutView },
      },
    },
    async (request, reply) => {
      const { sequence, version, select, start: starts = true, ...options } = request.body;
      const target = String(sequence ?? version ?? 'newest');
      const judge = (made: Rollout) => {
        const { id, total } = made;
        return {
          result: 'ok',
          detail: { id, version: made.version, sequence: made.sequence, hosts: total.hosts },
        } as const;
      };
      const action = { action: 'rollout.create', target, detail: { select, starts }, judge };
      const made = await audited(deps, request, action, () =>
        deps.rollouts.create({ sequence, version, select, options, starts }, actorOf(request)),
      );
      return reply.code(201).send(viewOf(made, deps.clock.now()));
    },
  );
}

function readRoutes(api: Api, { deps }: RouteContext): void {
  const config = { access: 'viewer', scope: 'installation' } as const;
  api.get(
    PATH,
    {
      config,
      schema: {
        ...{ tags: TAGS, summary: 'Lists rollouts, newest first; those that ended first are forgotten beyond 100' },
        querystring: PageQuery,
        response: { 200: pageOf(RolloutView) },
      },
    },
    async ({ query }) => {
      const now = deps.clock.now();
      return pageView(await deps.rollouts.list(pageRequest(query)), (rollout) => viewOf(rollout, now));
    },
  );

  api.get(
    `${PATH}/:id`,
    {
      config,
      schema: {
        ...{ tags: TAGS, summary: 'Shows how far a rollout is' },
        params: IdParams,
        response: { 200: RolloutView },
      },
    },
    async ({ params }) => viewOf(await deps.rollouts.get(params.id), deps.clock.now()),
  );

  api.get(
    `${PATH}/:id/hosts`,
    {
      config,
      schema: {
        ...{ tags: TAGS, summary: 'Lists the hosts of a rollout in the order in which they are asked' },
        params: IdParams,
        querystring: HostsQuery,
        response: { 200: pageOf(RolloutHostView) },
      },
    },
    async ({ params, query }) => {
      const page = await deps.rollouts.hosts(params.id, pageRequest(query), query.state);
      const names = await deps.hosts.names(page.items.map(({ hostId }) => hostId));
      return pageView(page, (host) => hostViewOf(host, names));
    },
  );
}

function commandRoute(api: Api, { deps }: RouteContext, verb: 'pause' | 'resume' | 'abort', summary: string): void {
  api.post(
    `${PATH}/:id/${verb}`,
    {
      config: { access: 'admin', scope: 'installation' },
      schema: { tags: TAGS, summary, params: IdParams, response: { 200: RolloutView } },
    },
    async (request) => {
      const { id } = request.params;
      const after = await audited(deps, request, { action: `rollout.${verb}`, target: id }, () =>
        deps.rollouts[verb](id),
      );
      return viewOf(after, deps.clock.now());
    },
  );
}

function viewOf(rollout: Rollout, now: number): RolloutView {
  const { plan, progress, total, stages, createdAt, ...rest } = rollout;
  const { state, reason, stage, stageAt, endedAt } = progress;
  const { stages: _, ...options } = plan.options;
  return {
    ...{ id: rest.id, version: rest.version, sequence: rest.sequence, state, reason: reason ?? null, stage: stage + 1 },
    stageAt: state === 'running' && stageAt > now ? instant(stageAt) : null,
    figures: { ...total },
    stages: stages.map(({ hosts, figures }) => ({ hosts, figures: { ...figures } })),
    ...{ select: plan.select, options, createdBy: rest.createdBy, createdAt: instant(createdAt) },
    endedAt: instantOrNull(endedAt),
  };
}

function hostViewOf(host: ListedHost, names: ReadonlyMap<string, string>): RolloutHostView {
  const { hostId, stage, state, code, detail, askedAt, endedAt } = host;
  return {
    ...{ host: names.get(hostId) ?? hostId, hostId, stage: stage < 0 ? null : stage + 1, state },
    ...{ code: code ?? null, detail: detail ?? null },
    ...{ askedAt: instantOrNull(askedAt), endedAt: instantOrNull(endedAt) },
  };
}
