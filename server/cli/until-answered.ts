/** Asks again when the answer to a change was lost on the way; a key makes the host act once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../../shared/backoff.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { NEVER_SENT } from '../../shared/network-errors.ts';
import { UnreachableError } from '../../shared/pinned-http.ts';
import { describeError } from './errors.ts';

/** How long is asked again. Hosts keep the outcome of a call for ten minutes. */
const ANSWER_MS = 60_000;
const BACKOFF = { minMs: 500, maxMs: 5_000 };

/** What stands in the way for a while only: the server restarts, the host comes back. */
const NOT_YET = new Set<string>(['SERVER_UNREACHABLE', 'STREAM_INTERRUPTED', 'HOST_OFFLINE', 'OVERLOADED', 'SHUTDOWN']);

/**
 * What `call`, which has an idempotency key, answers.
 * @throws what it fails with; FairleadError STREAM_INTERRUPTED if an answer was lost and could not be had again
 */
export async function untilAnswered<T>(call: () => Promise<T>): Promise<T> {
  const backoff = new Backoff({ ...BACKOFF, random: Math.random });
  let deadline: number | undefined;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const now = performance.now();
      if (deadline === undefined && !isAnswerLost(error)) throw error;
      deadline ??= now + ANSWER_MS;
      if (!isNotYet(error)) throw error;
      if (now >= deadline) throw unknownOutcome(error);
    }
    await sleep(backoff.next());
  }
}

/** Whether the call may have been made, and can be asked for again. */
function isAnswerLost(error: unknown): boolean {
  if (error instanceof UnreachableError) return !NEVER_SENT.has(error.failure) && error.failure !== 'timeout';
  return isFairleadError(error, 'STREAM_INTERRUPTED') && error.repeat !== undefined && error.repeat !== 'unknown';
}

function isNotYet(error: unknown): boolean {
  if (error instanceof UnreachableError) return error.failure !== 'tls';
  return isFairleadError(error) && NOT_YET.has(error.code) && error.repeat !== 'unknown';
}

function unknownOutcome(cause: unknown): FairleadError {
  const detail = `the answer was lost and could not be had again within a minute (${describeError(cause)}); it may have been done all the same: look before you repeat it`;
  return new FairleadError('STREAM_INTERRUPTED', detail, { cause, repeat: 'unknown' });
}
