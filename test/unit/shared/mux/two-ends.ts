/** Both ends of one stream, for tests of what one does and the other sees. */
import assert from 'node:assert/strict';
import { type FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import type { StreamKind } from '../../../../shared/messages/kind.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type MuxPairOptions, readyPair, settle } from '../../../support/mux.ts';

export const WINDOW = 1000;

export const LIMITS = { initialWindowBytes: WINDOW, maxWindowBytes: 8 * WINDOW, windowShareBytes: 100 };

export const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;

/** Both ends of a stream that the server opened; the acceptor has not answered. */
export async function open<K extends StreamKind>(kind: K, params: unknown = {}, options: MuxPairOptions = {}) {
  let taken: MuxStream | undefined;
  const onAgent = (stream: MuxStream) => {
    taken = stream;
  };
  const pair = await readyPair({ clock: new FakeClock(), limits: LIMITS, onAgent, ...options });
  const opener = pair.server.open(kind, params as never);
  await settle(4);
  assert.ok(taken !== undefined);
  const acceptor = taken as unknown as MuxStream<K>;
  const answered = async () => {
    acceptor.sendReply({} as never);
    await opener.reply;
  };
  return { ...pair, opener, acceptor, answered, [Symbol.dispose]: () => pair.link.cut() };
}

/** How a stream ended, or `open`. */
export async function fate(stream: MuxStream<never> | { closed: Promise<FairleadError | undefined> }): Promise<string> {
  await settle(10);
  const open: unknown = await Promise.race([stream.closed, Promise.resolve('open')]);
  return typeof open === 'string' ? open : isFairleadError(open) ? open.code : 'clean';
}
