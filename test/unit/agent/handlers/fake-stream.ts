/** Both ends of one stream without a session: the handler's end, and what its opener would see and do. */
import { type Duplex, duplexPair } from 'node:stream';
import { HANDLERS, type HandlerContext } from '../../../../agent/handlers/index.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { Item, Params, Reply, Signal, StreamKind, Trailer } from '../../../../shared/messages/kind.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { validate } from '../../../../shared/validate.ts';

export interface Opened<K extends StreamKind> {
  /** The opener's end of the bytes. */
  readonly bytes: Duplex;
  readonly reply: Promise<Reply<K>>;
  readonly trailer: Promise<Trailer<K> | undefined>;
  readonly items: Item<K>[];
  /** Settles with the handler. */
  readonly done: Promise<void>;
  signal(value: Signal<K>): void;
  /** The opener leaves. */
  leave(): void;
}

/** Runs the handler of `kind` on `params`. What it sends must fit the kind's schemas. */
export function open<K extends StreamKind>(kind: K, params: Params<K>, context: HandlerContext): Opened<K> {
  validate(kind.params, params, 'params');
  const [near, far] = duplexPair();
  const abort = new AbortController();
  const items: Item<K>[] = [];
  const reply = Promise.withResolvers<Reply<K>>();
  const trailer = Promise.withResolvers<Trailer<K> | undefined>();
  let onSignal: (value: Signal<K>) => void = () => undefined;
  const stream = {
    kind,
    params,
    bytes: near,
    aborted: abort.signal,
    sendReply(value: Reply<K>) {
      validate(kind.reply, value, 'reply');
      reply.resolve(value);
    },
    async sendItem(value: Item<K>) {
      abort.signal.throwIfAborted();
      if (kind.item) validate(kind.item, value, 'item');
      items.push(value);
      await new Promise(setImmediate);
    },
    onSignal(listener: (value: Signal<K>) => void) {
      onSignal = listener;
    },
    finish(value?: Trailer<K>) {
      if (kind.trailer) validate(kind.trailer, value, 'trailer');
      trailer.resolve(value);
      near.end();
    },
  };
  const handler = HANDLERS.get(kind.code);
  if (handler === undefined) throw new Error(`no handler serves ${kind.name}`);
  const done = handler(stream as unknown as MuxStream, context);
  done.catch((error: unknown) => {
    reply.reject(error);
    trailer.reject(error);
  });
  for (const promise of [reply.promise, trailer.promise]) promise.catch(() => undefined);
  return {
    bytes: far,
    reply: reply.promise,
    trailer: trailer.promise,
    items,
    done,
    signal: (value) => onSignal(value),
    leave: () => abort.abort(new FairleadError('CANCELLED', 'the opener left')),
  };
}
