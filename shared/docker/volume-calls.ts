/** Calls of Docker's API that act on volumes. */
import * as kinds from '../messages/volume.ts';
import { dockerPath, filtersQuery } from './call.ts';
import { LONG_CALL_MS, PRUNE_CALL_MS } from './call-times.ts';
import { asCount, asObject, asObjects, asTexts } from './json.ts';
import { change, list, read, type UnaryCall } from './unary-call.ts';

export const VOLUME_CALLS: readonly UnaryCall[] = [
  list(
    kinds.volumeList,
    ({ filters }) => ({ method: 'GET', path: '/volumes', query: filtersQuery(filters) }),
    // Docker says null when there is none.
    (answer) => asObjects(asObject(answer)['Volumes'] ?? []),
  ),
  read(kinds.volumeInspect, ({ id }) => ({ method: 'GET', path: dockerPath`/volumes/${id}` })),
  change(
    kinds.volumeCreate,
    ({ config }) => ({ method: 'POST', path: '/volumes/create', body: config, timeoutMs: LONG_CALL_MS }),
    asObject,
  ),
  change(kinds.volumeRemove, ({ id, force }) => ({
    method: 'DELETE',
    path: dockerPath`/volumes/${id}`,
    query: force === true ? { force: 1 } : {},
    timeoutMs: LONG_CALL_MS,
  })),
  change(
    kinds.volumePrune,
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
  ),
];
