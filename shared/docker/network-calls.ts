/** Calls of Docker's API that act on networks. */
import * as kinds from '../messages/network.ts';
import { dockerPath, filtersQuery } from './call.ts';
import { LONG_CALL_MS, PRUNE_CALL_MS } from './call-times.ts';
import { asObject, asTexts } from './json.ts';
import { change, list, read, type UnaryCall } from './unary-call.ts';

export const NETWORK_CALLS: readonly UnaryCall[] = [
  list(kinds.networkList, ({ filters }) => ({ method: 'GET', path: '/networks', query: filtersQuery(filters) })),
  read(kinds.networkInspect, ({ id, verbose }) => ({
    method: 'GET',
    path: dockerPath`/networks/${id}`,
    query: verbose === true ? { verbose: 1 } : {},
  })),
  change(
    kinds.networkCreate,
    ({ config }) => ({ method: 'POST', path: '/networks/create', body: config, timeoutMs: LONG_CALL_MS }),
    (answer) => {
      const { Id, Warning } = asObject(answer);
      return { id: String(Id), warning: typeof Warning === 'string' ? Warning : '' };
    },
  ),
  change(kinds.networkRemove, ({ id }) => ({ method: 'DELETE', path: dockerPath`/networks/${id}` })),
  change(kinds.networkConnect, ({ id, container, endpoint }) => ({
    method: 'POST',
    path: dockerPath`/networks/${id}/connect`,
    body: { Container: container, ...(endpoint === undefined ? {} : { EndpointConfig: endpoint }) },
  })),
  change(kinds.networkDisconnect, ({ id, container, force }) => ({
    method: 'POST',
    path: dockerPath`/networks/${id}/disconnect`,
    body: { Container: container, Force: force === true },
  })),
  change(
    kinds.networkPrune,
    ({ filters }) => ({
      method: 'POST',
      path: '/networks/prune',
      query: filtersQuery(filters),
      timeoutMs: PRUNE_CALL_MS,
    }),
    (answer) => ({ NetworksDeleted: asTexts(asObject(answer)['NetworksDeleted']) }),
  ),
];
