/** Handlers of networks: list, inspect, create, remove, connect, disconnect, prune. */
import type {
  networkConnect,
  networkCreate,
  networkDisconnect,
  networkInspect,
  networkList,
  networkPrune,
  networkRemove,
} from '../../shared/messages/network.ts';
import { dockerPath, filtersQuery } from '../docker/call.ts';
import { asObject, asTexts } from '../docker/json.ts';
import { change, changeWithAnswer } from './change.ts';
import { list, read } from './read.ts';
import { LONG_CALL_MS, PRUNE_CALL_MS } from './times.ts';

export const handleNetworkList = list<typeof networkList>(({ filters }) => ({
  method: 'GET',
  path: '/networks',
  query: filtersQuery(filters),
}));

export const handleNetworkInspect = read<typeof networkInspect>(({ id, verbose }) => ({
  method: 'GET',
  path: dockerPath`/networks/${id}`,
  query: verbose === true ? { verbose: 1 } : {},
}));

export const handleNetworkCreate = changeWithAnswer<typeof networkCreate>(
  ({ config }) => ({ method: 'POST', path: '/networks/create', body: config, timeoutMs: LONG_CALL_MS }),
  (answer) => {
    const { Id, Warning } = asObject(answer);
    return { id: String(Id), warning: typeof Warning === 'string' ? Warning : '' };
  },
);

export const handleNetworkRemove = change<typeof networkRemove>(({ id }) => ({
  method: 'DELETE',
  path: dockerPath`/networks/${id}`,
}));

export const handleNetworkConnect = change<typeof networkConnect>(({ id, container, endpoint }) => ({
  method: 'POST',
  path: dockerPath`/networks/${id}/connect`,
  body: { Container: container, ...(endpoint === undefined ? {} : { EndpointConfig: endpoint }) },
}));

export const handleNetworkDisconnect = change<typeof networkDisconnect>(({ id, container, force }) => ({
  method: 'POST',
  path: dockerPath`/networks/${id}/disconnect`,
  body: { Container: container, Force: force === true },
}));

export const handleNetworkPrune = changeWithAnswer<typeof networkPrune>(
  ({ filters }) => ({
    method: 'POST',
    path: '/networks/prune',
    query: filtersQuery(filters),
    timeoutMs: PRUNE_CALL_MS,
  }),
  (answer) => ({ NetworksDeleted: asTexts(asObject(answer)['NetworksDeleted']) }),
);
