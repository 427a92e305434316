/** Does something on a host and writes down who asked for it and how it ended. */
import type { FastifyRequest } from 'fastify';
import { isFairleadError, toWireError } from '../../shared/errors.ts';
import { actorOf } from './access.ts';
import type { AuditEntry } from './deps/audit.ts';
import type { ApiDeps } from './deps.ts';

export interface Verdict {
  readonly result: 'ok' | 'failed';
  readonly detail?: Record<string, unknown>;
}

export interface AuditedAction<T = unknown> {
  readonly action: string;
  readonly target: string;
  /** Never secrets. */
  readonly detail?: Record<string, unknown>;
  /** What cannot be written down must not go on: the caller undoes what `work` began. */
  readonly isStrict?: boolean;
  /** What the result says of how it ended, undefined where that needs no row; without it, whatever comes is a success. */
  readonly judge?: (result: T) => Verdict | undefined;
}

/**
 * Runs `work` and records it. The caller gets its result, or its error, once the row is written.
 * @throws FairleadError STORE_FULL, STORE_UNAVAILABLE if the row of a strict action is not
 */
export async function audited<T>(
  { audit }: Pick<ApiDeps, 'audit'>,
  request: FastifyRequest,
  { action, target, detail, isStrict, judge }: AuditedAction<T>,
  work: () => Promise<T>,
): Promise<T> {
  const { name, address } = actorOf(request);
  const entry = { actor: name, ...(address === undefined ? {} : { address }), action, target };
  let result: T;
  try {
    result = await work();
  } catch (error) {
    // What a host denies its link has written down already, within the limits of refusals.
    if (isFairleadError(error, 'DENIED_BY_HOST')) throw error;
    const { code } = toWireError(error);
    const isRefusal = isFairleadError(error, 'FORBIDDEN');
    await audit.recordOrLog({ ...entry, result: isRefusal ? 'refused' : 'failed', detail: { ...detail, code } });
    throw error;
  }
  const verdict = judge === undefined ? { result: 'ok' as const } : judge(result);
  if (verdict === undefined) return result;
  const facts = { ...detail, ...verdict.detail };
  const row = { ...entry, result: verdict.result, ...(Object.keys(facts).length === 0 ? {} : { detail: facts }) };
  await (isStrict ? audit.record(row) : audit.recordOrLog(row));
  return result;
}

/** The row of a refusal of what `request` asked for. */
export function refusalOf(request: FastifyRequest, what: Pick<AuditEntry, 'action' | 'target' | 'detail'>): AuditEntry {
  const { name, address } = actorOf(request);
  return { actor: name, ...(address === undefined ? {} : { address }), ...what, result: 'refused' };
}
