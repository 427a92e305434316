/** Ties a stream to its caller's AbortSignal: the stream is reset when the caller goes away. */
import { FairleadError } from '../errors.ts';

export function cancelled(signal: AbortSignal): FairleadError {
  const { reason } = signal;
  return reason instanceof FairleadError ? reason : new FairleadError('CANCELLED', 'the caller went away');
}

export function resetOnAbort(
  stream: { reset(error: FairleadError): void; closed: Promise<unknown> },
  signal: AbortSignal,
): void {
  const abort = () => stream.reset(cancelled(signal));
  signal.addEventListener('abort', abort, { once: true });
  stream.closed.then(
    () => signal.removeEventListener('abort', abort),
    () => undefined,
  );
}
