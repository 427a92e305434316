/** Hosts that a body names, and not a path: in the scope of whoever asks as well. */
import type { FastifyRequest } from 'fastify';
import { isFairleadError } from '../../shared/errors.ts';
import { actorOf, scopeOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { refusalLog } from './refusals.ts';

/** Makes what finds the id of a host that a body names. @throws FairleadError HOST_NOT_FOUND, the same for one out of scope as for none */
export function hostInScope(api: Api, deps: RouteContext['deps']) {
  const forbidden = refusalLog(api, deps, { action: 'forbidden', perAddress: 'refusedLoginsPerMinute' });
  return async (request: FastifyRequest, ref: string): Promise<string> => {
    const scope = scopeOf(request);
    if (scope === undefined) return (await deps.hosts.get(ref)).id;
    try {
      return await deps.hosts.idInScope(ref, scope);
    } catch (error) {
      if (isFairleadError(error, 'HOST_NOT_FOUND')) {
        const { name: actor, address } = actorOf(request);
        const action = `${request.method} ${request.routeOptions.url ?? ''}`;
        const row = { actor, action, target: ref, result: 'refused' as const, detail: { code: error.code } };
        await forbidden(request, { ...row, ...(address === undefined ? {} : { address }) });
      }
      throw error;
    }
  };
}
