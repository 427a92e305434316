/** Sends a body to Docker as it comes, and reads what Docker says to it. */
import type { Readable } from 'node:stream';
import { pump } from '../pump.ts';
import { answerFailure } from './answer-failure.ts';
import { readText } from './json.ts';
import type { RawExchange } from './raw-exchange.ts';

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/**
 * Sends `source` to its end and reads the answer, which may come before that: what Docker does not want of the body is
 * left in `source`.
 * @throws FairleadError for what Docker refuses; what `source` or the connection fails with; the signal's reason
 */
export async function sendAndRead(exchange: RawExchange, source: Readable, signal: AbortSignal): Promise<string> {
  const { body: sink, answer } = exchange;
  const { promise: left, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort);
  // Whichever of them is waited for says what went wrong.
  answer.catch(() => undefined);
  left.catch(() => undefined);
  const sent = pump(source, sink, signal).then(() => void sink.end());
  // Where Docker stops reading, its answer says why; where the source breaks off, the request must not look whole.
  const brokenOff = sent.then(
    () => left,
    (error: unknown) => (sink.destroyed || sink.errored ? left : Promise.reject(error)),
  );
  brokenOff.catch(() => undefined);
  try {
    const { status, body } = await Promise.race([answer, brokenOff]);
    if (body === undefined) throw new Error('an answer has a body');
    const text = await Promise.race([readText(body, MAX_ANSWER_BYTES), left]);
    if (status < 200 || status >= 300) throw answerFailure(status, text);
    return text;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
