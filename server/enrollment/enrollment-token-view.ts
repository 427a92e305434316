/** How an enrollment token is shown, and the state it is in. */
import type { EnrollmentTokenRow } from '../store/enrollment-tokens.ts';

export type EnrollmentTokenState = 'pending' | 'used' | 'expired' | 'revoked';

/** A token without its secret. Times are ms since 1970. */
export interface EnrollmentTokenView {
  readonly id: string;
  readonly name: string | undefined;
  readonly state: EnrollmentTokenState;
  /** The name that its host gets. */
  readonly hostName: string | undefined;
  /** The id of the host that it takes over. */
  readonly adopts: string | undefined;
  readonly tags: readonly string[];
  readonly createdBy: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly revokedAt: number | undefined;
  readonly usedAt: number | undefined;
  /** The host that it enrolled. */
  readonly hostId: string | undefined;
}

/** The state of a token at `now`. */
export function tokenState(token: EnrollmentTokenRow, now: number): EnrollmentTokenState {
  if (token.revokedAt !== undefined) return 'revoked';
  if (token.use !== undefined) return 'used';
  return token.expiresAt <= now ? 'expired' : 'pending';
}

export function tokenView(token: EnrollmentTokenRow, now: number): EnrollmentTokenView {
  return {
    id: token.id,
    name: token.name,
    state: tokenState(token, now),
    hostName: token.hostName,
    adopts: token.adopts,
    tags: token.tags,
    createdBy: token.createdBy,
    createdAt: token.createdAt,
    expiresAt: token.expiresAt,
    revokedAt: token.revokedAt,
    usedAt: token.use?.at,
    hostId: token.use?.hostId,
  };
}
