/** What a failure in the application or of its Duplex means for the stream it happened on. */
import { FairleadError, toWireError } from '../errors.ts';

export function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** What any thrown value means for the stream it was thrown on. */
export function toStreamError(error: unknown): FairleadError {
  if (error instanceof FairleadError) return error;
  const code = codeOf(error);
  if (error === null || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ABORT_ERR') {
    return new FairleadError('CANCELLED', 'the application left the stream', { cause: error });
  }
  return new FairleadError('INTERNAL', toWireError(error).message, { cause: error });
}
