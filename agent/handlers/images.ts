/** Handlers of images: list, inspect, remove, prune, tag. */
import type { Static } from 'typebox';
import type {
  imageInspect,
  imageList,
  imagePrune,
  imageRemove,
  imageTag,
  RemovedImages,
} from '../../shared/messages/image.ts';
import { filtersQuery, imagePath } from '../docker/call.ts';
import { asCount, asObject, asObjects } from '../docker/json.ts';
import { change, changeWithAnswer } from './change.ts';
import { list, read } from './read.ts';
import { LONG_CALL_MS, PRUNE_CALL_MS } from './times.ts';

export const handleImageList = list<typeof imageList>(({ all, digests, filters }) => ({
  method: 'GET',
  path: '/images/json',
  query: { ...(all === true ? { all: 1 } : {}), ...(digests === true ? { digests: 1 } : {}), ...filtersQuery(filters) },
}));

export const handleImageInspect = read<typeof imageInspect>(({ id }) => ({
  method: 'GET',
  path: imagePath(id, '/json'),
}));

export const handleImageRemove = changeWithAnswer<typeof imageRemove>(
  ({ id, force, noprune }) => ({
    method: 'DELETE',
    path: imagePath(id),
    query: { force: force === true ? 1 : 0, noprune: noprune === true ? 1 : 0 },
    timeoutMs: LONG_CALL_MS,
  }),
  (answer) => ({ removed: removedImages(answer) }),
);

export const handleImagePrune = changeWithAnswer<typeof imagePrune>(
  ({ filters, dangling }) => ({
    method: 'POST',
    path: '/images/prune',
    query: filtersQuery({ ...filters, ...(dangling === undefined ? {} : { dangling: [String(dangling)] }) }),
    timeoutMs: PRUNE_CALL_MS,
  }),
  (answer) => {
    const { ImagesDeleted, SpaceReclaimed } = asObject(answer);
    return { ImagesDeleted: removedImages(ImagesDeleted), SpaceReclaimed: asCount(SpaceReclaimed) };
  },
);

export const handleImageTag = change<typeof imageTag>(({ id, repo, tag }) => ({
  method: 'POST',
  path: imagePath(id, '/tag'),
  query: { repo, ...(tag === undefined ? {} : { tag }) },
}));

/** Docker says null when there was nothing. */
function removedImages(answer: unknown): Static<typeof RemovedImages> {
  if (answer === null || answer === undefined) return [];
  return asObjects(answer).map(({ Untagged, Deleted }) => ({
    ...(typeof Untagged === 'string' ? { Untagged } : {}),
    ...(typeof Deleted === 'string' ? { Deleted } : {}),
  }));
}
