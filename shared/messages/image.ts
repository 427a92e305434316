/** Kinds that act on images. Codes 0x0500 to 0x05ff. Docker's own objects pass in Docker's own words. */
import Type from 'typebox';
import { changeKind, Filters, listKind, Reclaimed, readKind } from './family.ts';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
const flag = Type.Optional(Type.Boolean());
/** Parts of a name with slashes between: none of them could be taken for a step in a path. */
const NAME = '^[a-zA-Z0-9][a-zA-Z0-9._:@-]*(?:/[a-zA-Z0-9][a-zA-Z0-9._:@-]*)*$';
/** An image's id, or its name with or without a registry, a tag and a digest. */
export const ImageRef = Type.String({ minLength: 1, maxLength: 400, pattern: NAME });
/** The name of an image without its tag. */
export const ImageRepo = Type.String({ minLength: 1, maxLength: 255, pattern: NAME.replaceAll('@', '') });
export const ImageTag = Type.String({ pattern: '^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$' });

/** What became of names and layers. */
export const RemovedImages = Type.Array(
  Type.Object({ Untagged: Type.Optional(Type.String()), Deleted: Type.Optional(Type.String()) }, closed),
);

export const imageList = listKind(0x0500, 'image.list', { all: flag, digests: flag, filters: Type.Optional(Filters) });
export const imageInspect = readKind(0x0501, 'image.inspect', { id: ImageRef });

export const imageRemove = {
  ...changeKind(0x0502, 'image.remove', { id: ImageRef, force: flag, noprune: flag }),
  reply: Type.Object({ removed: RemovedImages }, closed),
} as const satisfies StreamKind;

/** Removes images that no container uses: those without a name, or with `dangling` false any, which the filters let through. */
export const imagePrune = {
  ...changeKind(0x0503, 'image.prune', { filters: Type.Optional(Filters), dangling: flag }),
  reply: Type.Object({ ImagesDeleted: RemovedImages, SpaceReclaimed: Reclaimed }, closed),
} as const satisfies StreamKind;

export const imageTag = changeKind(0x0504, 'image.tag', {
  id: ImageRef,
  repo: ImageRepo,
  tag: Type.Optional(ImageTag),
});
