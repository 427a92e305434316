/** Why sessions end, and how that is told: by goaway, by the WebSocket's close, or by the network alone. Pure. */
import { ERRORS, type ErrorCode, FairleadError } from '../errors.ts';
import type { TransportEnd } from './transport.ts';

/** Why a session ended, and by whom: this end, the other, or neither. */
export interface SessionEnd {
  readonly code: ErrorCode;
  readonly reason: string;
  readonly by: 'local' | 'remote' | 'network';
  /** When the agent may come back. */
  readonly retryAfterMs?: number;
  /** With VERSION: the versions the other end speaks. */
  readonly versions?: number[];
}

/** What a goaway says. */
export interface GoawayOptions {
  readonly code: ErrorCode;
  readonly reason: string;
  readonly retryAfterMs?: number;
  readonly versions?: number[];
  /** How long running streams may go on; GOAWAY_DEADLINE_MS unless given. */
  readonly deadlineMs?: number;
}

/** Close codes of RFC 6455, section 7.4.1. */
const CLOSE_GOING_AWAY = 1001;
const CLOSE_PROTOCOL_ERROR = 1002;

const VIOLATIONS: ReadonlySet<ErrorCode> = new Set([
  'PROTOCOL_ERROR',
  'FLOW_CONTROL_ERROR',
  'FRAME_TOO_LARGE',
  'MESSAGE_INVALID',
]);

/** The peer broke the protocol: its session ends. */
export function violation(message: string): FairleadError {
  return new FairleadError('PROTOCOL_ERROR', message);
}

/** The WebSocket's close code for a session's end. */
export function closeCode(code: ErrorCode): number {
  return VIOLATIONS.has(code) ? CLOSE_PROTOCOL_ERROR : CLOSE_GOING_AWAY;
}

/** A session's end by what a goaway says. A code that this version does not know is kept in the text. */
export function endOf(
  said: { code: string; reason: string; retryAfterMs?: number; versions?: number[] },
  by: 'local' | 'remote',
): SessionEnd {
  const known = Object.hasOwn(ERRORS, said.code);
  return {
    code: known ? (said.code as ErrorCode) : 'INTERNAL',
    reason: known ? said.reason : `${said.code}: ${said.reason}`,
    by,
    ...(said.retryAfterMs === undefined ? {} : { retryAfterMs: said.retryAfterMs }),
    ...(said.versions === undefined ? {} : { versions: said.versions }),
  };
}

/** A session's end by how its transport closed without a goaway: the close reason is a code, else it was the network. */
export function endByTransport(end: TransportEnd): SessionEnd {
  if (Object.hasOwn(ERRORS, end.reason)) {
    const code = end.reason as ErrorCode;
    return { code, reason: ERRORS[code].title, by: 'remote' };
  }
  const reason = end.error?.message ?? `the connection closed with code ${end.code}`;
  return { code: 'STREAM_INTERRUPTED', reason, by: 'network' };
}
