/** One action on many containers of many hosts. */
import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import {
  containerKill,
  containerList,
  containerPause,
  containerRemove,
  containerRestart,
  containerStart,
  containerStop,
  containerUnpause,
} from '../../shared/messages/container.ts';
import type { Params } from '../../shared/messages/kind.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { Api } from './app-types.ts';
import { BULK_HOW, BULK_SELECT, planBulk, type Target, tooMany } from './bulk-plan.ts';
import { answerBulk, bulkAnswer } from './bulk-run.ts';
import { ChangeHeaders, change } from './changes.ts';
import {
  CONTAINER_SELECT,
  type ContainerSelect,
  type ContainerState,
  isSelected,
  namesOf,
} from './container-select.ts';
import { type ContainerChangeKind, timeoutOf } from './containers.ts';
import type { RouteContext } from './context.ts';
import { definedOf } from './defined.ts';
import { MAX_BULK_TARGETS } from './limits.ts';
import type { Slots } from './slots.ts';
import { NDJSON } from './stream-body.ts';

const strict = { additionalProperties: false };

const BulkVerb = Type.Union([
  Type.Literal('start'),
  Type.Literal('stop'),
  Type.Literal('restart'),
  Type.Literal('pause'),
  Type.Literal('unpause'),
  Type.Literal('kill'),
  Type.Literal('remove'),
]);
type BulkVerb = Static<typeof BulkVerb>;

const BulkBody = Type.Object(
  {
    action: BulkVerb,
    select: Type.Object({ ...BULK_SELECT, ...CONTAINER_SELECT }, strict),
    timeoutSeconds: containerStop.params.properties.timeoutSeconds,
    signal: containerKill.params.properties.signal,
    force: Type.Optional(Type.Boolean({ description: 'Of remove: running ones, too' })),
    volumes: Type.Optional(Type.Boolean({ description: 'Of remove: their anonymous volumes, too' })),
    ...BULK_HOW,
  },
  strict,
);
type BulkBody = Static<typeof BulkBody>;

/** One container that is meant. */
interface ContainerTarget extends Target {
  readonly id: string;
  readonly container: string;
  readonly state: string;
}

const ALIVE: readonly ContainerState[] = ['running', 'paused', 'restarting'];
const AT_REST: readonly ContainerState[] = ['created', 'exited', 'dead'];
/** What each action is, and what it is for where the selection names no states. */
const VERBS: Readonly<Record<BulkVerb, { kind: ContainerChangeKind; states: readonly ContainerState[] }>> = {
  start: { kind: containerStart, states: AT_REST },
  stop: { kind: containerStop, states: ALIVE },
  restart: { kind: containerRestart, states: ALIVE },
  pause: { kind: containerPause, states: ['running'] },
  unpause: { kind: containerUnpause, states: ['paused'] },
  kill: { kind: containerKill, states: ALIVE },
  remove: { kind: containerRemove, states: AT_REST },
};

export function bulkContainerRoute(api: Api, context: RouteContext, slots: Slots): void {
  api.post(
    '/api/v1/containers/actions',
    {
      config: { access: 'operator', scope: 'filtered' },
      schema: {
        tags: ['containers'],
        summary: 'Does one thing to many containers of many hosts',
        description: bulkAnswer(
          'container',
          'id, container, state',
          'What begun before the client left ends; nothing more is begun. By the same Idempotency-Key a repeat does ' +
            'nothing twice to one container.',
        ),
        headers: ChangeHeaders,
        body: BulkBody,
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const { body } = request;
      const given = request.headers['idempotency-key'];
      const key = typeof given === 'string' ? given : undefined;
      return await answerBulk<ContainerTarget>(context, slots, request, reply, {
        ...{ ...body, type: 'container', key },
        plan: (signal) => plan(context, request, body, signal),
        act: (target, operationId) => act(context, request, target, { body, key, operationId }),
      });
    },
  );
}

function plan(
  context: RouteContext,
  request: FastifyRequest,
  { action, select, force = false }: BulkBody,
  signal: AbortSignal,
) {
  const { name, image, label } = select;
  const whatever = action === 'remove' && force ? [...ALIVE, ...AT_REST] : VERBS[action].states;
  const meant = { name, image, label, state: select.state ?? whatever };
  const finding = {
    select,
    say: 'say which containers: by tag, host, name, image, state or label, or all: true',
    orderOf: ({ container, id }: ContainerTarget) => `${container}\0${id}`,
    find: (of: Target, link: HostLink, ending: AbortSignal) => targetsOf(link, of, definedOf(meant), ending),
  };
  return planBulk(context, request, finding, signal);
}

async function targetsOf(
  link: HostLink,
  of: Target,
  select: ContainerSelect,
  signal: AbortSignal,
): Promise<ContainerTarget[]> {
  const stream = await link.open(containerList, { all: true }, { signal });
  const targets: ContainerTarget[] = [];
  try {
    for await (const item of stream.items()) {
      signal.throwIfAborted();
      const { Id, State } = item;
      if (typeof Id !== 'string' || !/^[0-9a-f]{12,64}$/.test(Id) || !isSelected(item, select)) continue;
      if (targets.length >= MAX_BULK_TARGETS) throw tooMany();
      const container = namesOf(item)[0] ?? Id.slice(0, 12);
      targets.push({ ...of, id: Id, container: container.slice(0, 255), state: String(State).slice(0, 16) });
    }
  } catch (error) {
    stream.reset(error instanceof FairleadError ? error : new FairleadError('INTERNAL', 'the list failed'));
    throw error;
  }
  return targets;
}

interface Asked {
  readonly body: BulkBody;
  readonly key: string | undefined;
  readonly operationId: string;
}

async function act(
  context: RouteContext,
  request: FastifyRequest,
  { host, hostId, id, container }: ContainerTarget,
  { body, key, operationId }: Asked,
): Promise<void> {
  const { kind } = VERBS[body.action];
  const params = paramsOf(body);
  await change(context, request, {
    ...{ kind, host: hostId, object: container, params: { id, ...params } as Params<ContainerChangeKind> },
    detail: { ...params, hostName: host, id, operationId },
    timeoutMs: timeoutOf(kind, params),
    // A key belongs to one call: each container has its own, the same for each repeat.
    ...(key === undefined ? {} : { key: createHash('sha256').update(`${key} ${hostId} ${id}`).digest('base64url') }),
  });
}

/** What of the body goes with the action. */
function paramsOf({ action, timeoutSeconds, signal, force = false, volumes = false }: BulkBody) {
  if (action === 'remove') return { force, volumes };
  if (action === 'kill') return definedOf({ signal });
  return action === 'stop' || action === 'restart' ? definedOf({ timeoutSeconds }) : {};
}
