/** Asks the server whether it wishes a release still: it may have taken the wish back while that was being tried. */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { releaseRead } from '../../shared/messages/release.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { Release } from '../../shared/releases/release.ts';
import { bytesOf } from './files.ts';
import { SERVER_THERE_MS } from './limits.ts';

export interface StillWishedOptions {
  readonly session: Pick<Session, 'open'>;
  readonly release: Pick<Release, 'sha256'>;
  /** What was downloaded, whole: so the server has nothing more to send. */
  readonly part: string;
  readonly clock: Clock;
}

/** Whatever keeps the server from an answer counts as yes. Never rejects. */
export async function isStillWished({ session, release, part, clock }: StillWishedOptions): Promise<boolean> {
  const late = new AbortController();
  const timer = clock.setTimeout(() => late.abort(new FairleadError('TIMEOUT', 'no answer')), SERVER_THERE_MS);
  try {
    const offset = (await bytesOf(part)) ?? 0;
    const stream = session.open(releaseRead, { sha256: release.sha256, offset }, { signal: late.signal });
    await stream.reply;
    stream.reset(new FairleadError('CANCELLED', 'that was all'));
    return true;
  } catch (error) {
    return !isFairleadError(error, 'FORBIDDEN');
  } finally {
    timer.cancel();
  }
}
