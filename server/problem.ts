/** The one place where errors take their HTTP form: application/problem+json. */
import Type, { type Static } from 'typebox';
import { ERRORS, type ErrorCode, FairleadError, isFairleadError, toWireError } from '../shared/errors.ts';

export const Problem = Type.Object(
  {
    type: Type.String({ description: 'A URN made of the code' }),
    title: Type.String({ description: 'What the code means' }),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable; for programs' }),
    detail: Type.String({ description: 'For a person to act on' }),
    requestId: Type.String({ description: "Stands in the server's log, too" }),
    retryAfter: Type.Optional(Type.Integer({ description: 'When to try again, in seconds' })),
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

/** The problem that answers for `error`. What nobody foresaw becomes INTERNAL and keeps its text to itself. */
export function problemOf(error: unknown, requestId: string): Problem {
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
    detail: ours.message,
    requestId,
    ...(retryAfter === undefined ? {} : { retryAfter: Math.max(1, Math.ceil(retryAfter)) }),
  };
}

/** An error inside a stream or on a WebSocket that is already open. */
export function failureOf(error: unknown): { code: string; detail: string } {
  const { code, message } = toWireError(error);
  return { code, detail: message };
}
