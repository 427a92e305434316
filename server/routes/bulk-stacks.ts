/** One action on many stacks of many hosts. */
import type { FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAX_STACK_SECONDS, StackSeconds } from '../../shared/messages/stack.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import { BULK_HOW, BULK_SELECT, planBulk, type Target } from './bulk-plan.ts';
import { answerBulk, bulkAnswer } from './bulk-run.ts';
import { CONTAINER_SELECT, isOneOf } from './container-select.ts';
import type { RouteContext } from './context.ts';
import { definedOf } from './defined.ts';
import type { StackDeployOptions } from './deps/stacks.ts';
import type { Slots } from './slots.ts';
import type { StackView } from './stack-schemas.ts';
import { stacksOf } from './stacks.ts';
import { NDJSON } from './stream-body.ts';

/** The others have theirs before: so many may come one after the other. */
const TURN_MS = MAX_STACK_SECONDS * 1000;
const strict = { additionalProperties: false };
const Verb = Type.Union([
  Type.Literal('redeploy'),
  Type.Literal('pull'),
  Type.Literal('start'),
  Type.Literal('stop'),
  Type.Literal('restart'),
]);
type Verb = Static<typeof Verb>;

const Body = Type.Object(
  {
    action: Verb,
    select: Type.Object({ ...BULK_SELECT, name: CONTAINER_SELECT.name }, strict),
    pull: Type.Optional(Type.Boolean({ description: 'Of redeploy: pulls all images first' })),
    prune: Type.Optional(
      Type.Boolean({ description: 'Of redeploy: removes containers of services that are not in the file' }),
    ),
    timeoutSeconds: Type.Optional(StackSeconds),
    ...BULK_HOW,
  },
  strict,
);
type Body = Static<typeof Body>;

interface StackTarget extends Target {
  readonly stack: string;
  readonly containers: number;
  readonly running: number;
}

/** Which stacks each action is for. */
const APPLIES: Readonly<Record<Verb, (stack: StackView) => boolean>> = {
  redeploy: ({ revision }) => revision !== null,
  pull: ({ revision }) => revision !== null,
  start: ({ containers, running }) => running < containers,
  stop: ({ running }) => running > 0,
  restart: ({ running }) => running > 0,
};

export function bulkStackRoute(api: Api, context: RouteContext, slots: Slots): void {
  api.post(
    '/api/v1/stacks/actions',
    {
      config: { access: 'operator', scope: 'filtered' },
      schema: {
        tags: ['stacks'],
        summary: 'Does one thing to many stacks of many hosts',
        description: bulkAnswer(
          'stack',
          'stack, containers, running',
          'redeploy and pull are for stacks that were deployed from here, start for those that do not run in full, stop ' +
            'and restart for those that run. A client that leaves ends the changes that go on, as it ends one alone.',
        ),
        body: Body,
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const { body } = request;
      return await answerBulk<StackTarget>(context, slots, request, reply, {
        ...{ ...body, type: 'stack' },
        plan: (signal) => plan(context, request, body, signal),
        act: (target, operationId, signal) => act(context, request, target, { body, operationId, signal }),
      });
    },
  );
}

function plan(context: RouteContext, request: FastifyRequest, { action, select }: Body, signal: AbortSignal) {
  const isMeant = (stack: StackView) =>
    (select.name === undefined || isOneOf(select.name, [stack.name])) && APPLIES[action](stack);
  const finding = {
    select,
    say: 'say which stacks: by tag, host or name, or all: true',
    orderOf: ({ stack }: StackTarget) => stack,
    find: async (of: Target, link: HostLink, ending: AbortSignal) =>
      (await stacksOf(context.deps, link, ending))
        .filter(isMeant)
        .map(({ name, containers, running }) => ({ ...of, stack: name, containers, running })),
  };
  return planBulk(context, request, finding, signal);
}

interface Asked {
  readonly body: Body;
  readonly operationId: string;
  readonly signal: AbortSignal;
}

/** One change, as if it had been asked for alone. */
async function act(
  { deps, links }: RouteContext,
  request: FastifyRequest,
  { host, hostId, stack }: StackTarget,
  { body, operationId, signal }: Asked,
): Promise<void> {
  const { action, pull, prune, timeoutSeconds } = body;
  const how = action === 'redeploy' ? definedOf({ pull, prune }) : {};
  const detail = { ...how, hostName: host, operationId };
  const facts = { action: `stack.${action}`, target: `${hostId}/${stack}`, detail };
  await audited(deps, request, facts, async () => {
    const target = { link: await links.to(request, hostId, facts), stack };
    const options = { by: actorOf(request).name, signal, timeoutSeconds, turnMs: TURN_MS, ...how };
    const running = await begin(deps, target, action, options);
    await running.finish();
  });
}

async function begin(
  { stacks }: Pick<RouteContext['deps'], 'stacks'>,
  target: { readonly link: HostLink; readonly stack: string },
  action: Verb,
  options: StackDeployOptions,
) {
  if (action === 'redeploy') return await stacks.repeat(target, { action }, options);
  if (action === 'pull') return await stacks.pull(target, options);
  return await stacks.act(target, action, options);
}
