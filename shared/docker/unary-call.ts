/** How a kind with one answer is served by one call of Docker's API, whichever way the call goes to the host. */
import type { TInteger, TObject } from 'typebox';
import type { DockerObject } from '../messages/family.ts';
import type { Params, Reply, StreamKind } from '../messages/kind.ts';
import type { DockerCall } from './call.ts';
import { asObjects, type DockerObject as Found } from './json.ts';

/** A kind that lists, as `listKind` makes it. */
export type ListKind = StreamKind & {
  readonly reply: TObject<{ count: TInteger }>;
  readonly item: typeof DockerObject;
};

/** A kind whose reply is Docker's object, as `readKind` makes it. */
export type ReadKind = StreamKind & { readonly reply: typeof DockerObject };

/** One kind and its call. The parameters are of that kind; the compiler does not know it of a list of them. */
export type UnaryCall =
  | {
      readonly shape: 'list';
      readonly kind: ListKind;
      readonly callOf: (params: unknown) => DockerCall;
      /** Finds the list in Docker's answer. */
      readonly objectsOf: (answer: unknown) => Found[];
    }
  | { readonly shape: 'read'; readonly kind: ReadKind; readonly callOf: (params: unknown) => DockerCall }
  | {
      readonly shape: 'change';
      readonly kind: StreamKind;
      readonly callOf: (params: unknown) => DockerCall;
      /** Makes the reply of Docker's answer, which may be anything; absent: the answer says nothing. */
      readonly replyOf?: (answer: unknown) => Reply<StreamKind>;
    };

export function list<K extends ListKind>(
  kind: K,
  callOf: (params: Params<K>) => DockerCall,
  objectsOf: (answer: unknown) => Found[] = asObjects,
): UnaryCall {
  return { shape: 'list', kind, callOf: callOf as (params: unknown) => DockerCall, objectsOf };
}

export function read<K extends ReadKind>(kind: K, callOf: (params: Params<K>) => DockerCall): UnaryCall {
  return { shape: 'read', kind, callOf: callOf as (params: unknown) => DockerCall };
}

export function change<K extends StreamKind>(
  kind: K,
  callOf: (params: Params<K>) => DockerCall,
  replyOf?: (answer: unknown) => Reply<K>,
): UnaryCall {
  const call = { shape: 'change' as const, kind, callOf: callOf as (params: unknown) => DockerCall };
  return replyOf === undefined ? call : { ...call, replyOf };
}
