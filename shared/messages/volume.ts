/** Kinds that act on volumes. Codes 0x0700 to 0x07ff. Docker's own objects pass in Docker's own words. */
import Type from 'typebox';
import { changeKind, DockerObject, Filters, listKind, ObjectRef, Reclaimed, Removed, readKind } from './family.ts';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
/** A volume's name; volumes have no ids. */
export const VolumeName = ObjectRef;

export const volumeList = listKind(0x0700, 'volume.list', { filters: Type.Optional(Filters) });
export const volumeInspect = readKind(0x0701, 'volume.inspect', { id: VolumeName });

/** `config` is Docker's own body for a new volume; the reply is the volume, which may have been there before. */
export const volumeCreate = {
  ...changeKind(0x0702, 'volume.create', { config: DockerObject }),
  reply: DockerObject,
} as const satisfies StreamKind;

export const volumeRemove = changeKind(0x0703, 'volume.remove', {
  id: VolumeName,
  force: Type.Optional(Type.Boolean()),
});

/** Removes all that no container uses, of those that the filters let through, and what is in them. */
export const volumePrune = {
  ...changeKind(0x0704, 'volume.prune', { filters: Type.Optional(Filters) }),
  reply: Type.Object({ VolumesDeleted: Removed, SpaceReclaimed: Reclaimed }, closed),
} as const satisfies StreamKind;
