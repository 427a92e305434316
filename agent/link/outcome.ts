/** What the end of a connection, or of an attempt at one, means for the agent: give up with an exit code, or come back. */
import { isFairleadError } from '../../shared/errors.ts';
import type { SessionEnd } from '../../shared/mux/session.ts';
import { UnreachableError } from '../../shared/pinned-http.ts';

/** Exit codes of `run`; the service file tells the manager which of them mean: do not restart. */
export const EXIT = { stopped: 0, failed: 1, usage: 2, revoked: 3, notEnrolled: 4, expired: 5, version: 6 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** How a connection ended. */
export interface LinkEnd {
  /** A stable word for the log: an error code, or what stood in the way (`dns`, `refused`, `tls`, …). */
  readonly code: string;
  /** A sentence for people. */
  readonly reason: string;
  /** The server's wish when to come back. */
  readonly retryAfterMs?: number;
}

/** Ends that do not pass by waiting. */
const FINAL: Readonly<Record<string, ExitCode>> = {
  CERT_REVOKED: EXIT.revoked,
  VERSION: EXIT.version,
};

/** The exit code that `end` calls for, or undefined if the agent should come back. */
export function finalExit(end: LinkEnd): ExitCode | undefined {
  return FINAL[end.code];
}

/** The end that a failed attempt stands for. What is not an expected failure is thrown on. */
export function endOfAttempt(error: unknown): LinkEnd {
  if (error instanceof UnreachableError) return { code: error.failure, reason: error.message };
  if (!isFairleadError(error)) throw error;
  const retryAfterMs = error.retryAfterSeconds === undefined ? {} : { retryAfterMs: error.retryAfterSeconds * 1000 };
  return { code: error.code, reason: error.message, ...retryAfterMs };
}

/** The end that a session's end stands for. */
export function endOfSession(end: SessionEnd): LinkEnd {
  const { code, reason, retryAfterMs } = end;
  return { code, reason, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}
