/** Does something on a host and writes down who asked for it and how it ended. */
import type { FastifyRequest } from 'fastify';
import { isFairleadError, toWireError } from '../../shared/errors.ts';
import { actorOf } from './access.ts';
import { markWritten } from './denials.ts';
import type { ApiDeps } from './deps.ts';

export interface AuditedAction {
  readonly action: string;
  readonly target: string;
  /** Never secrets. */
  readonly detail?: Record<string, unknown>;
  /** What cannot be written down must not go on: the caller undoes what `work` began. */
  readonly isStrict?: boolean;
}

/**
 * Runs `work` and records it. The caller gets its result, or its error, once the row is written.
 * @throws FairleadError STORE_FULL, STORE_UNAVAILABLE if the row of a strict action is not
 */
export async function audited<T>(
  { audit }: Pick<ApiDeps, 'audit'>,
  request: FastifyRequest,
  { action, target, detail, isStrict }: AuditedAction,
  work: () => Promise<T>,
): Promise<T> {
  const { name, address } = actorOf(request);
  const entry = { actor: name, ...(address === undefined ? {} : { address }), action, target };
  let result: T;
  try {
    result = await work();
  } catch (error) {
    const { code } = toWireError(error);
    const isRefusal = isFairleadError(error, 'DENIED_BY_HOST') || isFairleadError(error, 'FORBIDDEN');
    await audit.recordOrLog({ ...entry, result: isRefusal ? 'refused' : 'failed', detail: { ...detail, code } });
    markWritten(error);
    throw error;
  }
  const row = { ...entry, result: 'ok' as const, ...(detail === undefined ? {} : { detail }) };
  await (isStrict ? audit.record(row) : audit.recordOrLog(row));
  return result;
}
