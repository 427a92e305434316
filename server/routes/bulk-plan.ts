/** What a bulk action would touch: what is meant of many hosts, and that it applies to. */
import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { scopeOf } from './access.ts';
import type { RouteContext } from './context.ts';
import { askHosts, HOST_SELECT, type HostSelect, hostsOf, type Unreachable } from './fan-out.ts';
import { MAX_BULK_AT_ONCE, MAX_BULK_TARGETS } from './limits.ts';

/** What each selection has. */
export const BULK_SELECT = {
  ...HOST_SELECT,
  all: Type.Optional(Type.Literal(true, { description: 'All of them: an empty selection must say so' })),
};

/** How it is gone about. */
export const BULK_HOW = {
  dryRun: Type.Optional(Type.Boolean({ description: 'Says what would be touched, and touches nothing' })),
  concurrency: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_BULK_AT_ONCE, description: '8 unless given' })),
  maxFailures: Type.Optional(
    Type.Integer({ minimum: 1, maximum: MAX_BULK_TARGETS, description: 'After so many, the others are skipped' }),
  ),
};
export interface BulkHow {
  readonly dryRun?: boolean;
  readonly concurrency?: number;
  readonly maxFailures?: number;
}

/** One thing that is meant, and its host. */
export interface Target {
  readonly host: string;
  readonly hostId: string;
}

export interface BulkPlan<T extends Target> {
  readonly targets: readonly T[];
  readonly hosts: number;
  readonly unreachable: readonly Unreachable[];
}

/** How the things of one host that are meant are found. */
export interface Finding<T extends Target> {
  readonly select: HostSelect & { readonly all?: true };
  /** How a selection of nothing is answered. */
  readonly say: string;
  /** Its place among the things of its host. */
  orderOf(target: T): string;
  /** @throws FairleadError `tooMany` */
  find(of: Target, link: HostLink, signal: AbortSignal): Promise<T[]>;
}

/**
 * Looks at all hosts that are meant.
 * @throws FairleadError VALIDATION for a selection that is empty or too wide, HOST_NOT_FOUND; the signal's reason
 */
export async function planBulk<T extends Target>(
  context: RouteContext,
  request: FastifyRequest,
  { select, say, orderOf, find }: Finding<T>,
  signal: AbortSignal,
): Promise<BulkPlan<T>> {
  if (Object.keys(select).length === 0) throw new FairleadError('VALIDATION', say);
  const hosts = await hostsOf(context.deps.hosts, select, scopeOf(request));
  const { answers, unreachable } = await askHosts(context, request, hosts, signal, ({ id, name }, link, ending) =>
    find({ host: name, hostId: id }, link, ending),
  );
  const targets = answers.flatMap(({ answer }) => answer);
  if (targets.length > MAX_BULK_TARGETS) throw tooMany();
  const order = (target: T) => `${target.host}\0${orderOf(target)}`;
  targets.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  return { targets, hosts: hosts.length, unreachable };
}

export function tooMany(): FairleadError {
  const detail = `these are more than ${MAX_BULK_TARGETS}: narrow the selection, by tag for example`;
  return new FairleadError('VALIDATION', detail);
}
