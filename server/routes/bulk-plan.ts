/** What a bulk action would touch: the containers of many hosts that are meant and that it applies to. */
import type { FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { containerKill, containerList, containerStop } from '../../shared/messages/container.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { scopeOf } from './access.ts';
import {
  CONTAINER_SELECT,
  type ContainerSelect,
  type ContainerState,
  isSelected,
  namesOf,
} from './container-select.ts';
import type { RouteContext } from './context.ts';
import { askHosts, HOST_SELECT, type HostSelect, hostsOf, type Unreachable } from './fan-out.ts';
import { MAX_BULK_AT_ONCE, MAX_BULK_CONTAINERS } from './limits.ts';

const strict = { additionalProperties: false };

export const BulkVerb = Type.Union([
  Type.Literal('start'),
  Type.Literal('stop'),
  Type.Literal('restart'),
  Type.Literal('pause'),
  Type.Literal('unpause'),
  Type.Literal('kill'),
  Type.Literal('remove'),
]);
export type BulkVerb = Static<typeof BulkVerb>;

export const BulkBody = Type.Object(
  {
    action: BulkVerb,
    select: Type.Object(
      {
        ...HOST_SELECT,
        ...CONTAINER_SELECT,
        all: Type.Optional(Type.Literal(true, { description: 'All of them: an empty selection must say so' })),
      },
      strict,
    ),
    timeoutSeconds: containerStop.params.properties.timeoutSeconds,
    signal: containerKill.params.properties.signal,
    force: Type.Optional(Type.Boolean({ description: 'Of remove: running ones, too' })),
    volumes: Type.Optional(Type.Boolean({ description: 'Of remove: their anonymous volumes, too' })),
    dryRun: Type.Optional(Type.Boolean({ description: 'Says what would be touched, and touches nothing' })),
    concurrency: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_BULK_AT_ONCE, description: '8 unless given' })),
    maxFailures: Type.Optional(
      Type.Integer({ minimum: 1, maximum: MAX_BULK_CONTAINERS, description: 'After so many, the others are skipped' }),
    ),
  },
  strict,
);
export type BulkBody = Static<typeof BulkBody>;

/** One container that is meant. */
export interface Target {
  readonly host: string;
  readonly hostId: string;
  readonly id: string;
  readonly container: string;
  readonly state: string;
}

export interface BulkPlan {
  readonly targets: readonly Target[];
  readonly hosts: number;
  readonly unreachable: readonly Unreachable[];
}

const ALIVE: readonly ContainerState[] = ['running', 'paused', 'restarting'];
const AT_REST: readonly ContainerState[] = ['created', 'exited', 'dead'];
/** What each action is for, where the selection names no states. */
const APPLIES: Readonly<Record<BulkVerb, readonly ContainerState[]>> = {
  start: AT_REST,
  stop: ALIVE,
  restart: ALIVE,
  pause: ['running'],
  unpause: ['paused'],
  kill: ALIVE,
  remove: AT_REST,
};

/**
 * Looks at all hosts that are meant.
 * @throws FairleadError VALIDATION for a selection that is empty or too wide, HOST_NOT_FOUND; the signal's reason
 */
export async function planBulk(
  context: RouteContext,
  request: FastifyRequest,
  { action, select, force = false }: BulkBody,
  signal: AbortSignal,
): Promise<BulkPlan> {
  const { all, tag, host, ...meant } = select;
  if (Object.keys(select).length === 0) {
    throw new FairleadError(
      'VALIDATION',
      'say which containers: by tag, host, name, image, state or label, or all: true',
    );
  }
  const state = meant.state ?? (action === 'remove' && force ? [...ALIVE, ...AT_REST] : APPLIES[action]);
  const hostSelect: HostSelect = { ...(tag === undefined ? {} : { tag }), ...(host === undefined ? {} : { host }) };
  const hosts = await hostsOf(context.deps.hosts, hostSelect, scopeOf(request));
  const { answers, unreachable } = await askHosts(context, request, hosts, signal, async ({ id, name }, link, ending) =>
    targetsOf(link, { host: name, hostId: id }, { ...meant, state }, ending),
  );
  const targets = answers.flatMap(({ answer }) => answer);
  if (targets.length > MAX_BULK_CONTAINERS) throw tooMany();
  const order = ({ host, container, id }: Target) => `${host}\0${container}\0${id}`;
  targets.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  return { targets, hosts: hosts.length, unreachable };
}

async function targetsOf(
  link: HostLink,
  host: Pick<Target, 'host' | 'hostId'>,
  select: ContainerSelect,
  signal: AbortSignal,
): Promise<Target[]> {
  const stream = await link.open(containerList, { all: true }, { signal });
  const targets: Target[] = [];
  try {
    for await (const item of stream.items()) {
      signal.throwIfAborted();
      const { Id, State } = item;
      if (typeof Id !== 'string' || !/^[0-9a-f]{12,64}$/.test(Id) || !isSelected(item, select)) continue;
      if (targets.length >= MAX_BULK_CONTAINERS) throw tooMany();
      const container = namesOf(item)[0] ?? Id.slice(0, 12);
      targets.push({ ...host, id: Id, container: container.slice(0, 255), state: String(State).slice(0, 16) });
    }
  } catch (error) {
    stream.reset(error instanceof FairleadError ? error : new FairleadError('INTERNAL', 'the list failed'));
    throw error;
  }
  return targets;
}

function tooMany(): FairleadError {
  const detail = `these are more than ${MAX_BULK_CONTAINERS} containers: narrow the selection, by tag for example`;
  return new FairleadError('VALIDATION', detail);
}
