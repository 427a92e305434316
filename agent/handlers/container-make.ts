/** Handlers that make containers, rename them, and remove those that are stopped. */
import type { containerCreate, containerPrune, containerRename } from '../../shared/messages/container.ts';
import { dockerPath, filtersQuery } from '../docker/call.ts';
import { asCount, asObject, asTexts } from '../docker/json.ts';
import { change, changeWithAnswer } from './change.ts';
import { LONG_CALL_MS, PRUNE_CALL_MS } from './times.ts';

export const handleCreate = changeWithAnswer<typeof containerCreate>(
  ({ name, platform, config }) => ({
    method: 'POST',
    path: '/containers/create',
    query: { ...(name === undefined ? {} : { name }), ...(platform === undefined ? {} : { platform }) },
    body: config,
    timeoutMs: LONG_CALL_MS,
  }),
  (answer) => {
    const { Id, Warnings } = asObject(answer);
    return { id: String(Id), warnings: asTexts(Warnings) };
  },
);

export const handleRename = change<typeof containerRename>(({ id, name }) => ({
  method: 'POST',
  path: dockerPath`/containers/${id}/rename`,
  query: { name },
}));

export const handleContainerPrune = changeWithAnswer<typeof containerPrune>(
  ({ filters }) => ({
    method: 'POST',
    path: '/containers/prune',
    query: filtersQuery(filters),
    timeoutMs: PRUNE_CALL_MS,
  }),
  (answer) => {
    const { ContainersDeleted, SpaceReclaimed } = asObject(answer);
    return { ContainersDeleted: asTexts(ContainersDeleted), SpaceReclaimed: asCount(SpaceReclaimed) };
  },
);
