/** How a message kind is described: once, as schemas from which it is validated, typed and documented. */
import type { Static, TSchema } from 'typebox';

/** Which end of a session may open a stream of a kind, or send a control message. */
export type Direction = 'server' | 'agent' | 'both';

/** The role an API caller needs for a kind, in rising order. */
export type Role = 'viewer' | 'operator' | 'admin';

/** What a kind does to the host, for the host's own policy. `connect` is off unless the policy allows it by its own name. */
export type PolicyClass = 'read' | 'change' | 'exec' | 'connect';

/** The scheduler's classes. A stream's class rules its body frames; opens, replies and mechanics are always control. */
export type Priority = 'interactive' | 'bulk';

/** A message on stream 0. */
export interface ControlKind<V extends TSchema = TSchema> {
  readonly code: number;
  readonly name: string;
  readonly from: Direction;
  readonly value: V;
}

/**
 * A kind of stream. Its frames, in each direction and in this order: OPEN with `params`, one `reply`, then any number
 * of `item` messages and bytes, then at most one `trailer`, then END.
 */
export interface StreamKind<
  P extends TSchema = TSchema,
  R extends TSchema = TSchema,
  I extends TSchema = TSchema,
  S extends TSchema = TSchema,
  T extends TSchema = TSchema,
> {
  readonly code: number;
  readonly name: string;
  /** Who may open it. */
  readonly from: Direction;
  readonly role: Role;
  readonly policy: PolicyClass;
  readonly priority: Priority;
  /** What the opener asks for; the payload of the OPEN frame. */
  readonly params: P;
  /** The acceptor's first message. */
  readonly reply: R;
  /** Messages the acceptor sends after its reply; absent: none. */
  readonly item?: I;
  /** What the opener may send as `stream.signal`; absent: nothing. */
  readonly signal?: S;
  /** The acceptor's last message, before END; absent: none. */
  readonly trailer?: T;
  /** Whether this end compresses its body frames: never what someone types, nor what is packed already. Absent: no. */
  readonly compressible?: boolean;
  /** Whose bytes (`stream.data`) the stream carries. */
  readonly bytes: 'none' | 'opener' | 'acceptor' | 'both';
}

export type Params<K> = K extends StreamKind<infer P> ? Static<P> : never;
export type Reply<K> = K extends { readonly reply: infer R extends TSchema } ? Static<R> : never;
export type Item<K> = K extends { readonly item: infer I extends TSchema } ? Static<I> : never;
export type Signal<K> = K extends { readonly signal: infer S extends TSchema } ? Static<S> : never;
export type Trailer<K> = K extends { readonly trailer: infer T extends TSchema } ? Static<T> : never;

/** The kinds a session knows, by code. */
export interface Catalogue {
  readonly control: ReadonlyMap<number, ControlKind>;
  readonly streams: ReadonlyMap<number, StreamKind>;
}

/** Builds a catalogue. Two kinds with one code or one name are a programming error and throw. */
export function catalogue(control: readonly ControlKind[], streams: readonly StreamKind[]): Catalogue {
  const names = new Set<string>();
  const codes = new Set<number>();
  for (const kind of [...control, ...streams]) {
    if (names.has(kind.name) || codes.has(kind.code)) throw new Error(`kind ${kind.name} (${kind.code}) stands twice`);
    names.add(kind.name);
    codes.add(kind.code);
  }
  return {
    control: new Map(control.map((kind) => [kind.code, kind])),
    streams: new Map(streams.map((kind) => [kind.code, kind])),
  };
}
