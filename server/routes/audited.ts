/** Does something on a host and writes down who asked for it and how it ended. */
import type { FastifyRequest } from 'fastify';
import { isFairleadError, toWireError } from '../../shared/errors.ts';
import { actorOf } from './access.ts';
import type { ApiDeps } from './deps.ts';

export interface AuditedAction {
  readonly action: string;
  readonly target: string;
  /** Never secrets. */
  readonly detail?: Record<string, unknown>;
}

/** Runs `work` and records it. The caller gets its result, or its error, once the row is written. */
export async function audited<T>(
  { audit }: Pick<ApiDeps, 'audit'>,
  request: FastifyRequest,
  { action, target, detail }: AuditedAction,
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
    await audit.record({ ...entry, result: isRefusal ? 'refused' : 'failed', detail: { ...detail, code } });
    throw error;
  }
  await audit.record({ ...entry, result: 'ok', ...(detail === undefined ? {} : { detail }) });
  return result;
}
