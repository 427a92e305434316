/** Handlers of volumes: list, inspect, create, remove, prune. */
import type {
  volumeCreate,
  volumeInspect,
  volumeList,
  volumePrune,
  volumeRemove,
} from '../../shared/messages/volume.ts';
import { dockerPath, filtersQuery } from '../docker/call.ts';
import { asCount, asObject, asObjects, asTexts } from '../docker/json.ts';
import { change, changeWithAnswer } from './change.ts';
import { list, read } from './read.ts';
import { LONG_CALL_MS, PRUNE_CALL_MS } from './times.ts';

export const handleVolumeList = list<typeof volumeList>(
  ({ filters }) => ({ method: 'GET', path: '/volumes', query: filtersQuery(filters) }),
  // Docker says null when there is none.
  (answer) => asObjects(asObject(answer)['Volumes'] ?? []),
);

export const handleVolumeInspect = read<typeof volumeInspect>(({ id }) => ({
  method: 'GET',
  path: dockerPath`/volumes/${id}`,
}));

export const handleVolumeCreate = changeWithAnswer<typeof volumeCreate>(
  ({ config }) => ({ method: 'POST', path: '/volumes/create', body: config, timeoutMs: LONG_CALL_MS }),
  asObject,
);

export const handleVolumeRemove = change<typeof volumeRemove>(({ id, force }) => ({
  method: 'DELETE',
  path: dockerPath`/volumes/${id}`,
  query: force === true ? { force: 1 } : {},
  timeoutMs: LONG_CALL_MS,
}));

export const handleVolumePrune = changeWithAnswer<typeof volumePrune>(
  ({ filters }) => ({
    method: 'POST',
    path: '/volumes/prune',
    query: filtersQuery(filters),
    timeoutMs: PRUNE_CALL_MS,
  }),
  (answer) => {
    const { VolumesDeleted, SpaceReclaimed } = asObject(answer);
    return { VolumesDeleted: asTexts(VolumesDeleted), SpaceReclaimed: asCount(SpaceReclaimed) };
  },
);
