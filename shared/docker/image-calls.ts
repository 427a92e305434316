/** Calls of Docker's API that act on images. */
import type { Static } from 'typebox';
import { imageInspect, imageList, imagePrune, imageRemove, imageTag, type RemovedImages } from '../messages/image.ts';
import { filtersQuery, imagePath } from './call.ts';
import { LONG_CALL_MS, PRUNE_CALL_MS } from './call-times.ts';
import { asCount, asObject, asObjects } from './json.ts';
import { change, list, read, type UnaryCall } from './unary-call.ts';

export const IMAGE_CALLS: readonly UnaryCall[] = [
  list(imageList, ({ all, digests, filters }) => ({
    method: 'GET',
    path: '/images/json',
    query: {
      ...(all === true ? { all: 1 } : {}),
      ...(digests === true ? { digests: 1 } : {}),
      ...filtersQuery(filters),
    },
  })),
  read(imageInspect, ({ id }) => ({ method: 'GET', path: imagePath(id, '/json') })),
  change(
    imageRemove,
    ({ id, force, noprune }) => ({
      method: 'DELETE',
      path: imagePath(id),
      query: { force: force === true ? 1 : 0, noprune: noprune === true ? 1 : 0 },
      timeoutMs: LONG_CALL_MS,
    }),
    (answer) => ({ removed: removedImages(answer) }),
  ),
  change(
    imagePrune,
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
  ),
  change(imageTag, ({ id, repo, tag }) => ({
    method: 'POST',
    path: imagePath(id, '/tag'),
    query: { repo, ...(tag === undefined ? {} : { tag }) },
  })),
];

/** Docker says null when there was nothing. */
function removedImages(answer: unknown): Static<typeof RemovedImages> {
  if (answer === null || answer === undefined) return [];
  return asObjects(answer).map(({ Untagged, Deleted }) => ({
    ...(typeof Untagged === 'string' ? { Untagged } : {}),
    ...(typeof Deleted === 'string' ? { Deleted } : {}),
  }));
}
