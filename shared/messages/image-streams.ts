/** Kinds that carry images: from a registry to the host, and as tars. Codes 0x0508 to 0x050a. */
import Type from 'typebox';
import { DockerObject } from './family.ts';
import { ImageRef } from './image.ts';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
/** Images that one tar may hold. */
export const MAX_SAVED_IMAGES = 64;
/** As Docker writes it: `linux/arm64/v8`. */
export const Platform = Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-zA-Z0-9._-]+(?:/[a-zA-Z0-9._-]+)*$' });
/** Credentials for a registry, as Docker takes them: JSON, in base64 for URLs. */
export const RegistryAuth = Type.String({ minLength: 1, maxLength: 16_384, pattern: '^[A-Za-z0-9+/=_-]+$' });

/** One item for each word of Docker's on how far it is; a pull that fails resets the stream. */
export const imagePull = {
  from: 'server',
  role: 'operator',
  policy: 'change',
  code: 0x0508,
  name: 'image.pull',
  priority: 'interactive',
  compressible: true,
  params: Type.Object(
    {
      /** With a tag or a digest; `latest` unless given. */
      reference: ImageRef,
      platform: Type.Optional(Platform),
      auth: Type.Optional(RegistryAuth),
    },
    closed,
  ),
  reply: Type.Object({}, closed),
  item: DockerObject,
  bytes: 'none',
} as const satisfies StreamKind;

/** The acceptor's bytes are one tar of the images, with all their layers. */
export const imageSave = {
  from: 'server',
  role: 'operator',
  policy: 'exec',
  code: 0x0509,
  name: 'image.save',
  priority: 'bulk',
  compressible: true,
  params: Type.Object({ references: Type.Array(ImageRef, { minItems: 1, maxItems: MAX_SAVED_IMAGES }) }, closed),
  reply: Type.Object({}, closed),
  bytes: 'acceptor',
} as const satisfies StreamKind;

/** The opener's bytes are such a tar, plain or packed; the reply has Docker's words on what it loaded. */
export const imageLoad = {
  from: 'server',
  role: 'operator',
  policy: 'change',
  code: 0x050a,
  name: 'image.load',
  priority: 'bulk',
  compressible: true,
  params: Type.Object({}, closed),
  reply: Type.Object({ loaded: Type.Array(Type.String()) }, closed),
  bytes: 'opener',
} as const satisfies StreamKind;
