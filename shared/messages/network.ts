/** Kinds that act on networks. Codes 0x0600 to 0x06ff. Docker's own objects pass in Docker's own words. */
import Type from 'typebox';
import { ContainerRef } from './container.ts';
import { changeKind, DockerObject, Filters, listKind, ObjectRef, Removed, readKind } from './family.ts';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
const flag = Type.Optional(Type.Boolean());
/** A network's id or name. */
export const NetworkRef = ObjectRef;

export const networkList = listKind(0x0600, 'network.list', { filters: Type.Optional(Filters) });
export const networkInspect = readKind(0x0601, 'network.inspect', { id: NetworkRef, verbose: flag });

/** `config` is Docker's own body for a new network. */
export const networkCreate = {
  ...changeKind(0x0602, 'network.create', { config: DockerObject }),
  reply: Type.Object({ id: Type.String(), warning: Type.String() }, closed),
} as const satisfies StreamKind;

export const networkRemove = changeKind(0x0603, 'network.remove', { id: NetworkRef });

export const networkConnect = changeKind(0x0604, 'network.connect', {
  id: NetworkRef,
  container: ContainerRef,
  /** Docker's own EndpointConfig: addresses and aliases. */
  endpoint: Type.Optional(DockerObject),
});

export const networkDisconnect = changeKind(0x0605, 'network.disconnect', {
  id: NetworkRef,
  container: ContainerRef,
  force: flag,
});

/** Removes all that no container uses, of those that the filters let through. */
export const networkPrune = {
  ...changeKind(0x0606, 'network.prune', { filters: Type.Optional(Filters) }),
  reply: Type.Object({ NetworksDeleted: Removed }, closed),
} as const satisfies StreamKind;
