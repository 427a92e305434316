/** When a token that is rotated ends, and how long its successor lives. */
import { FairleadError } from '../../shared/errors.ts';
import type { ApiTokenRow } from '../store/api-tokens.ts';

/** How long a rotated token may go on beside its successor, in seconds. */
export const MAX_OVERLAP_SECONDS = 7 * 24 * 3600;

export interface Rotation {
  /** When the token ends: after the overlap, or when it would have ended anyhow. ms since 1970. */
  readonly endsAt: number;
  /** When its successor does: it lives as long as the token was made for. Undefined: never. */
  readonly expiresAt: number | undefined;
}

/** What is asked of a token that is to be rotated. Times are ms since 1970. */
export type RotatedToken = Pick<ApiTokenRow, 'createdAt' | 'expiresAt' | 'revokedAt' | 'replacedBy'>;

/**
 * @param now ms since 1970
 * @throws FairleadError VALIDATION, CONFLICT if the token has ended or has a successor
 */
export function planRotation(token: RotatedToken, overlapSeconds: number, now: number): Rotation {
  if (!Number.isInteger(overlapSeconds) || overlapSeconds < 0 || overlapSeconds > MAX_OVERLAP_SECONDS) {
    const detail = `overlapSeconds is not valid: it is a whole number from 0 to ${MAX_OVERLAP_SECONDS}`;
    throw new FairleadError('VALIDATION', detail);
  }
  if (token.replacedBy !== undefined) {
    const detail = `the token was rotated before: ${token.replacedBy} took its place; rotate that one`;
    throw new FairleadError('CONFLICT', detail);
  }
  const end = token.expiresAt ?? Number.POSITIVE_INFINITY;
  if (token.revokedAt !== undefined || end <= now) {
    throw new FairleadError('CONFLICT', 'the token is revoked or expired already: make a new one');
  }
  return {
    endsAt: Math.min(end, now + overlapSeconds * 1000),
    expiresAt: token.expiresAt === undefined ? undefined : now + (token.expiresAt - token.createdAt),
  };
}
