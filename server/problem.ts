/** The one place where errors take their HTTP form: application/problem+json. */
import Type, { type Static } from 'typebox';
import {
  ERRORS,
  type ErrorCode,
  FairleadError,
  isFairleadError,
  type Repeat as Repeats,
  toWireError,
} from '../shared/errors.ts';

export const Repeat = Type.Union([Type.Literal('safe'), Type.Literal('with-key'), Type.Literal('unknown')], {
  description:
    'With STREAM_INTERRUPTED, TIMEOUT and HOST_OFFLINE. safe: it may be asked again; with-key: with the same ' +
    'Idempotency-Key it acts once; unknown: it may have been done, look before you repeat it',
});

export const Problem = Type.Object(
  {
    type: Type.String({ description: 'A URN made of the code' }),
    title: Type.String({ description: 'What the code means' }),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable; for programs' }),
    detail: Type.String({ description: 'For a person to act on' }),
    requestId: Type.String({ description: "Stands in the server's log, too" }),
    retryAfter: Type.Optional(Type.Integer({ description: 'When to try again, in seconds' })),
    repeat: Type.Optional(Repeat),
  },
  { $id: 'Problem', description: 'What every refused or failed request is answered with' },
);
export type Problem = Static<typeof Problem>;

/** When to try again if the error does not say so itself, by status, in seconds. */
const RETRY_AFTER_SECONDS: Readonly<Record<number, number>> = { 429: 60, 503: 5 };

export const PROBLEM_TYPE = 'application/problem+json';

/** What Fastify itself refuses, by its code; other client errors of Fastify's are VALIDATION, too. */
const FASTIFY_ERRORS: Readonly<Record<string, { code: ErrorCode; status?: number; detail: string }>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'PAYLOAD_TOO_LARGE', detail: 'the body is larger than this route takes' },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: { code: 'VALIDATION', status: 415, detail: 'the body must be application/json' },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: 'VALIDATION', detail: 'the body is not valid JSON' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { code: 'VALIDATION', detail: 'the body is not as long as Content-Length says' },
  FST_ERR_BAD_URL: { code: 'VALIDATION', detail: 'the path is not valid: it has a wrong percent-encoding' },
  FST_ERR_MAX_PARAM_LENGTH: { code: 'VALIDATION', detail: 'a part of the path is too long' },
};

interface Known {
  error: FairleadError;
  status: number;
}

/** The error as one of ours; undefined if nobody foresaw it. */
function known(error: unknown): Known | undefined {
  if (isFairleadError(error)) return { error, status: ERRORS[error.code].status };
  if (!(error instanceof Error)) return undefined;
  const { code, statusCode } = error as Error & { code?: unknown; statusCode?: unknown };
  const listed = typeof code === 'string' ? FASTIFY_ERRORS[code] : undefined;
  if (listed !== undefined) {
    return {
      error: new FairleadError(listed.code, listed.detail),
      status: listed.status ?? ERRORS[listed.code].status,
    };
  }
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return { error: new FairleadError('VALIDATION', 'the request is malformed'), status: statusCode };
  }
  return undefined;
}

/** What was asked, as far as it matters to a repeat. */
export interface Asked {
  readonly method: string;
  /** Whether it has an idempotency key, where such a one counts. */
  readonly hasKey: boolean;
}

/** A question alone. */
export const READ_ASKED: Asked = { method: 'GET', hasKey: false };
/** A terminal, a connection: what was begun in it is not begun again by asking again. */
export const SESSION_ASKED: Asked = { method: 'CONNECT', hasKey: false };

/** After these nobody knows by the code alone whether what was asked was done. */
const IN_DOUBT: ReadonlySet<ErrorCode> = new Set(['STREAM_INTERRUPTED', 'TIMEOUT']);
const READS: ReadonlySet<string> = new Set(['GET', 'HEAD']);
/** What is asked for twice by these is as if it had been asked for once. */
const SETTLING: ReadonlySet<string> = new Set(['PUT', 'DELETE']);

const REPEAT_SENTENCES: Readonly<Record<Repeats, string>> = {
  safe: 'it may be asked again',
  'with-key': 'ask again with the same Idempotency-Key, and it is done once',
  unknown: 'it may have been done all the same: look before you repeat it',
};

/** Whether what failed with `error` may be asked again; undefined where the code says enough. */
function repeatOf({ code, repeat }: FairleadError, asked: Asked | undefined): Repeats | undefined {
  if (repeat !== undefined) return repeat;
  // The host was sent nothing.
  if (code === 'HOST_OFFLINE') return 'safe';
  if (!IN_DOUBT.has(code) || asked === undefined) return undefined;
  if (READS.has(asked.method)) return 'safe';
  if (asked.hasKey) return 'with-key';
  return SETTLING.has(asked.method) ? 'safe' : 'unknown';
}

/** What an error says, to a person and to a program. */
function told(error: FairleadError, asked: Asked | undefined): { detail: string; repeat?: Repeats } {
  const repeat = repeatOf(error, asked);
  if (repeat === undefined) return { detail: error.message };
  return {
    detail: IN_DOUBT.has(error.code) ? `${error.message}; ${REPEAT_SENTENCES[repeat]}` : error.message,
    repeat,
  };
}

/** The problem that answers for `error`. What nobody foresaw becomes INTERNAL and keeps its text to itself. */
export function problemOf(error: unknown, requestId: string, asked?: Asked): Problem {
  const { error: ours, status } = known(error) ?? {
    error: new FairleadError(
      'INTERNAL',
      `an unexpected error; the server's log has its cause under request ${requestId}`,
    ),
    status: 500,
  };
  const retryAfter = ours.retryAfterSeconds ?? RETRY_AFTER_SECONDS[status];
  return {
    type: `urn:fairlead:problem:${ours.code}`,
    title: ERRORS[ours.code].title,
    status,
    code: ours.code,
    ...told(ours, asked),
    requestId,
    ...(retryAfter === undefined ? {} : { retryAfter: Math.max(1, Math.ceil(retryAfter)) }),
  };
}

/** An error inside a stream or on a WebSocket that is already open. */
export function failureOf(error: unknown, asked?: Asked): { code: string; detail: string; repeat?: Repeats } {
  const { code, message } = toWireError(error);
  return isFairleadError(error) ? { code, ...told(error, asked) } : { code, detail: message };
}
