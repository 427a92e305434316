/**
 * Writes down what a host's own policy, or a token's limits, denied, on whichever route: reads are denied as well as
 * changes. What `audited` has written is not written again. The rows are limited, since a client may ask again and again.
 */
import type { FastifyRequest } from 'fastify';
import { type FairleadError, isFairleadError } from '../../shared/errors.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { ApiDeps } from './deps.ts';
import { meter } from './limits.ts';
import { Tally } from './tally.ts';

const written = new WeakSet<Error>();

/** Says that `error` has its row. */
export function markWritten(error: unknown): void {
  if (error instanceof Error) written.add(error);
}

export type DenialLog = (request: FastifyRequest, error: unknown, host?: string) => Promise<void>;

/** @returns what is to be told of every error of a request, and writes down those that are denials; it never throws */
export function recordDenials(
  api: Api,
  { audit, clock, limits }: Pick<ApiDeps, 'audit' | 'clock' | 'limits'>,
): DenialLog {
  const excess = meter(api, 'refusalRowsPerMinute', limits, true);
  const left = new Tally(clock, (suppressed) =>
    audit.recordOrLog({ actor: 'system', action: 'denied', result: 'refused', detail: { suppressed } }),
  );
  api.addHook('onClose', () => left.flush());
  const record: DenialLog = async (request, error, host) => {
    if (!isDenial(error) || request.principal === undefined || written.has(error)) return;
    markWritten(error);
    if ((await excess(request)) !== undefined) return left.add();
    const { name: actor, address } = actorOf(request);
    const action = `${request.method} ${request.routeOptions.url ?? ''}`;
    const target = host === undefined ? targetOf(request.params) : { target: host };
    const detail = { code: error.code, why: error.message };
    await audit.recordOrLog({
      actor,
      ...(address === undefined ? {} : { address }),
      action,
      ...target,
      result: 'refused',
      detail,
    });
  };
  return record;
}

function isDenial(error: unknown): error is FairleadError {
  return isFairleadError(error, 'DENIED_BY_HOST') || isFairleadError(error, 'FORBIDDEN');
}

function targetOf(params: unknown): { target?: string } {
  const { host, container } = (params ?? {}) as { host?: string; container?: string };
  if (host === undefined) return {};
  return { target: container === undefined ? host : `${host}/${container}` };
}
