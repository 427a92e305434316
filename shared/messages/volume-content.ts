/** Kinds that carry what is in a volume: browse, export, import, and transfers between hosts. Codes 0x0710 to 0x071f. */
import Type, { type Static } from 'typebox';
import type { StreamKind } from './kind.ts';
import { VolumeName } from './volume.ts';

const closed = { additionalProperties: false };
/** A path from a volume's root on; no part of it leads upwards. */
export const VolumePath = Type.String({
  maxLength: 4096,
  pattern: '^(?!/)(?!(?:[^\\x00]*/)?\\.\\.(?:/|$))[^\\x00]*$',
});
/** The most entries that one look into a directory lists. */
export const MAX_BROWSED_ENTRIES = 10_000;

const bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });
const flag = Type.Optional(Type.Boolean());
/** Names a transfer: what one host has of it is found again by it. */
const id = Type.String({ pattern: '^[0-9a-f-]{36}$' });
const texts = Type.Record(Type.String({ maxLength: 1024 }), Type.String({ maxLength: 64 * 1024 }));

/** How a volume was made, as far as its copy is made like it. */
export const VolumeMake = Type.Object(
  { driver: Type.String({ maxLength: 255 }), options: texts, labels: texts },
  closed,
);
export type VolumeMake = Static<typeof VolumeMake>;

/** Lets the inside of a volume out, as an exec in a container would. */
const outward = { from: 'server', role: 'operator', policy: 'exec', priority: 'bulk' } as const;
const inward = { from: 'server', role: 'operator', policy: 'change', priority: 'bulk' } as const;

/** One entry of a directory. */
export const VolumeEntry = Type.Object(
  {
    name: Type.String(),
    type: Type.String({ description: 'file, directory, symlink, link (a second name of a file), fifo, …' }),
    size: Type.Number({ minimum: 0 }),
    mode: Type.Integer({ minimum: 0 }),
    uid: Type.Integer({ minimum: 0 }),
    gid: Type.Integer({ minimum: 0 }),
    mtime: Type.String({ description: 'RFC 3339' }),
    linkTarget: Type.Optional(Type.String()),
  },
  closed,
);

/** One item for each entry of a directory. Docker reads all that is below it on the way. */
export const volumeBrowse = {
  ...outward,
  code: 0x0710,
  name: 'volume.browse',
  priority: 'interactive',
  compressible: true,
  params: Type.Object(
    {
      volume: VolumeName,
      path: Type.Optional(VolumePath),
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_BROWSED_ENTRIES })),
    },
    closed,
  ),
  reply: Type.Object({}, closed),
  item: VolumeEntry,
  /** Whether the limit, or the time, was over before the directory. */
  trailer: Type.Object({ truncated: Type.Boolean() }, closed),
  bytes: 'none',
} as const satisfies StreamKind;

/** The acceptor's bytes are a tar of the volume, or of what `path` names in it. */
export const volumeExport = {
  ...outward,
  code: 0x0711,
  name: 'volume.export',
  compressible: true,
  params: Type.Object({ volume: VolumeName, path: Type.Optional(VolumePath) }, closed),
  reply: Type.Object({}, closed),
  bytes: 'acceptor',
} as const satisfies StreamKind;

/** The opener's bytes are a tar, unpacked in the volume, or in the directory `path` of it; the reply comes when that is done. */
export const volumeImport = {
  ...inward,
  code: 0x0712,
  name: 'volume.import',
  compressible: true,
  params: Type.Object({ volume: VolumeName, path: Type.Optional(VolumePath) }, closed),
  /** Whether the volume was made for it. */
  reply: Type.Object({ created: Type.Boolean() }, closed),
  bytes: 'opener',
} as const satisfies StreamKind;

/**
 * The acceptor's bytes are a tar of the volume, from `offset` on if what it would have sent before has the hash `sha256`;
 * else from 0, as its reply then says.
 */
export const volumeTransferSend = {
  ...outward,
  code: 0x0713,
  name: 'volume.transfer.send',
  compressible: true,
  params: Type.Object({ volume: VolumeName, offset: bytes, sha256: Type.Optional(sha256), force: flag }, closed),
  reply: Type.Object({ offset: bytes, make: VolumeMake, estimatedBytes: Type.Optional(bytes) }, closed),
  /** Of the whole tar. */
  trailer: Type.Object({ bytes, sha256 }, closed),
  bytes: 'acceptor',
} as const satisfies StreamKind;

/** Whether a transfer may go into the volume, and what the host has of it already: so many bytes, with that hash; or all, in place. */
export const volumeTransferPrepare = {
  ...inward,
  code: 0x0714,
  name: 'volume.transfer.prepare',
  priority: 'interactive',
  params: Type.Object({ id, volume: VolumeName, replace: flag, force: flag }, closed),
  reply: Type.Object({ offset: bytes, sha256, done: flag }, closed),
  bytes: 'none',
} as const satisfies StreamKind;

/** The opener's bytes are the tar from `offset` on; what the host has beyond is dropped. The volume is not touched. */
export const volumeTransferReceive = {
  ...inward,
  code: 0x0715,
  name: 'volume.transfer.receive',
  compressible: true,
  params: Type.Object({ id, offset: bytes, estimatedBytes: Type.Optional(bytes) }, closed),
  reply: Type.Object({}, closed),
  /** What the host has now. */
  trailer: Type.Object({ bytes, sha256 }, closed),
  bytes: 'opener',
} as const satisfies StreamKind;

/** Puts what was received in place, if it is whole. Asked again, it answers as before. */
export const volumeTransferApply = {
  ...inward,
  code: 0x0716,
  name: 'volume.transfer.apply',
  priority: 'interactive',
  params: Type.Object({ id, volume: VolumeName, bytes, sha256, make: VolumeMake, replace: flag, force: flag }, closed),
  reply: Type.Object({ created: Type.Boolean(), replaced: Type.Boolean() }, closed),
  bytes: 'none',
} as const satisfies StreamKind;

/** Drops what was received. Idempotent. */
export const volumeTransferDiscard = {
  ...inward,
  code: 0x0717,
  name: 'volume.transfer.discard',
  priority: 'interactive',
  params: Type.Object({ id }, closed),
  reply: Type.Object({}, closed),
  bytes: 'none',
} as const satisfies StreamKind;
