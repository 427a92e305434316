/** A stream of a Hawser host as the rest of the server sees streams: a reply, then items or bytes, then perhaps a last word. */
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { Item, Reply, Signal, StreamKind, Trailer } from '../../shared/messages/kind.ts';
import { codeOf } from '../../shared/mux/stream-error.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import type { HeldBytes } from './held-bytes.ts';

export interface HawserStreamParts<K extends StreamKind> {
  readonly reply: Reply<K>;
  readonly bytes: HeldBytes;
  readonly items?: () => AsyncIterable<Item<K>>;
  /** Settles once the bytes have ended. */
  readonly trailer?: Promise<Trailer<K>>;
  readonly onSignal?: (value: Signal<K>) => void;
  /** Ends the stream while it lasts. */
  readonly signal?: AbortSignal | undefined;
}

export function hawserStream<K extends StreamKind>(parts: HawserStreamParts<K>): LinkStream<K> {
  const { reply, bytes, trailer, items, onSignal, signal } = parts;
  const { promise: closed, resolve } = Promise.withResolvers<FairleadError | undefined>();
  const { promise: broken, reject } = Promise.withResolvers<never>();
  broken.catch(() => undefined);
  const onAbort = () => bytes.destroy(asFairleadError(signal?.reason));
  const end = (error?: FairleadError) => {
    signal?.removeEventListener('abort', onAbort);
    resolve(error);
    if (error !== undefined) reject(error);
  };
  bytes.once('error', (error) => end(asFairleadError(error)));
  if (trailer === undefined) bytes.once('end', () => end());
  else
    trailer.then(
      () => end(),
      (error: unknown) => end(asFairleadError(error)),
    );
  bytes.once('close', () => end());
  if (signal?.aborted) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  const last = trailer === undefined ? broken : Promise.race([trailer, broken]);
  last.catch(() => undefined);
  return {
    reply,
    bytes,
    items: items ?? none,
    trailer: last,
    signal: (value) => onSignal?.(value),
    reset: (error) => void bytes.destroy(error),
    closed,
  };
}

async function* none(): AsyncGenerator<never> {
  yield* [];
}

export function asFairleadError(error: unknown): FairleadError {
  if (isFairleadError(error)) return error;
  // A loop over the bytes, or a pipe, was left before their end.
  if (codeOf(error) === 'ABORT_ERR') return new FairleadError('CANCELLED', 'the stream was left', { cause: error });
  return new FairleadError('INTERNAL', 'a stream of a Hawser host failed on the server', { cause: error });
}
