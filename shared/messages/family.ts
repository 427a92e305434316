/**
 * What the kinds that speak of Docker's objects have in common: how objects are named and filtered, and the shapes of lists,
 * reads and changes.
 */
import Type, { type TProperties } from 'typebox';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };

/** An object as Docker sent it, or as Docker takes it. */
export const DockerObject = Type.Record(Type.String(), Type.Unknown());
/** The id or name of a container, network or volume, as Docker takes it; nothing that could change the path of a request. */
export const ObjectRef = Type.String({ minLength: 1, maxLength: 255, pattern: '^[a-zA-Z0-9][a-zA-Z0-9_.-]*$' });
/** A repeated call with the same key acts once. */
export const idempotencyKey = Type.Optional(Type.String({ minLength: 1, maxLength: 64 }));
/** Docker's own filters: by name, the values of which one must fit. */
export const Filters = Type.Record(
  Type.String({ pattern: '^[a-zA-Z][a-zA-Z0-9!._-]{0,63}$' }),
  Type.Array(Type.String({ maxLength: 1024 }), { maxItems: 64 }),
  { maxProperties: 32, additionalProperties: false },
);
/** Names of what a call took away. */
export const Removed = Type.Array(Type.String());
/** What a call freed on the disk, in bytes. */
export const Reclaimed = Type.Integer({ minimum: 0 });
/** The answer that says nothing but that it is done. */
export const Done = Type.Object({}, closed);

/** A kind that lists: one item per object. */
export function listKind<const N extends string, P extends TProperties>(code: number, name: N, params: P) {
  return {
    code,
    name,
    from: 'server',
    role: 'viewer',
    policy: 'read',
    priority: 'interactive',
    compressible: true,
    params: Type.Object(params, closed),
    reply: Type.Object({ count: Type.Integer({ minimum: 0 }) }, closed),
    item: DockerObject,
    bytes: 'none',
  } as const satisfies StreamKind;
}

/** A kind that looks at one object, and answers with Docker's. */
export function readKind<const N extends string, P extends TProperties>(code: number, name: N, params: P) {
  return {
    code,
    name,
    from: 'server',
    role: 'viewer',
    policy: 'read',
    priority: 'interactive',
    compressible: true,
    params: Type.Object(params, closed),
    reply: DockerObject,
    bytes: 'none',
  } as const satisfies StreamKind;
}

/** A kind that changes something, once for each idempotency key, and answers with nothing unless its reply says more. */
export function changeKind<const N extends string, P extends TProperties>(code: number, name: N, params: P) {
  return {
    code,
    name,
    from: 'server',
    role: 'operator',
    policy: 'change',
    priority: 'interactive',
    params: Type.Object({ idempotencyKey, ...params }, closed),
    reply: Done,
    bytes: 'none',
  } as const satisfies StreamKind;
}
