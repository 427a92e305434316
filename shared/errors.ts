/** The one error family: stable codes, with their HTTP status and their meaning, and the form they take on the wire. */

/** Every code that may cross the wire or the REST API. `status` is its HTTP status, `title` what it means. */
export const ERRORS = {
  // what a caller got wrong
  VALIDATION: { status: 400, title: 'The request is not valid' },
  CSR_INVALID: { status: 400, title: 'The certificate request is not acceptable' },
  UNAUTHORIZED: { status: 401, title: 'A token, a certificate or a login is required' },
  TOKEN_INVALID: { status: 401, title: 'The token is not valid' },
  FORBIDDEN: { status: 403, title: 'The caller is not allowed to do this' },
  DENIED_BY_HOST: { status: 403, title: "The host's own policy denies this" },
  NOT_FOUND: { status: 404, title: 'There is no such thing' },
  HOST_NOT_FOUND: { status: 404, title: 'There is no such host' },
  CONTAINER_NOT_FOUND: { status: 404, title: 'There is no such container on the host' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request did not come in time' },
  CONFLICT: { status: 409, title: 'The state of the target does not allow this' },
  RELEASE_INVALID: { status: 422, title: 'The release is not what its signature vouches for' },
  PAYLOAD_TOO_LARGE: { status: 413, title: 'The body is too large' },
  RATE_LIMITED: { status: 429, title: 'Too many requests' },
  CANCELLED: { status: 499, title: 'The caller went away' },
  // what the server or a host could not do
  INTERNAL: { status: 500, title: 'An unexpected error' },
  UNSUPPORTED: { status: 501, title: 'The host cannot do this' },
  DOCKER_ERROR: { status: 502, title: 'Docker answered with an error' },
  DOCKER_UNREACHABLE: { status: 502, title: 'Docker does not answer on the host' },
  CONNECTION_REFUSED: { status: 502, title: 'Nothing accepts connections there' },
  STREAM_INTERRUPTED: { status: 502, title: 'The connection to the host was lost' },
  SERVER_UNREACHABLE: { status: 502, title: 'The server cannot be reached' },
  HOST_OFFLINE: { status: 503, title: 'The host is not connected' },
  OVERLOADED: { status: 503, title: 'Too much is in progress' },
  STORE_UNAVAILABLE: { status: 503, title: 'The store cannot be written' },
  TIMEOUT: { status: 504, title: 'No answer in time' },
  STORE_FULL: { status: 507, title: 'The disk under the store is full' },
  // why a session ended or was refused
  CERT_REVOKED: { status: 403, title: "The agent's certificate is revoked" },
  CERT_UNKNOWN: { status: 403, title: "The agent's certificate is not on the list of active ones" },
  CERT_EXPIRED: { status: 403, title: "The agent's certificate has expired" },
  QUARANTINED: { status: 403, title: 'The host is in quarantine: its certificate may be on two machines' },
  RECOVERY_DENIED: { status: 403, title: 'An administrator has denied the host a new certificate' },
  VERSION: { status: 426, title: 'No common protocol version' },
  REPLACED: { status: 409, title: 'A newer session of the same host took over' },
  SHUTDOWN: { status: 503, title: 'The other end is shutting down' },
  PROTOCOL_ERROR: { status: 502, title: 'The other end broke the protocol' },
  FLOW_CONTROL_ERROR: { status: 502, title: 'The other end sent more than it was granted' },
  FRAME_TOO_LARGE: { status: 502, title: 'A frame is larger than the limit' },
  MESSAGE_INVALID: { status: 502, title: 'A message does not fit its schema or its limits' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ErrorCode = keyof typeof ERRORS;

/**
 * Whether what failed may be asked again: `safe`, it may; `with-key`, with the same idempotency key it acts once; `unknown`,
 * it may have been done, and a repeat may do it again.
 */
export type Repeat = 'safe' | 'with-key' | 'unknown';

/** An error with a stable code. `message` is the detail a person can act on; it never carries a secret. */
export class FairleadError extends Error {
  override readonly name = 'FairleadError';
  readonly code: ErrorCode;
  /** When the caller may try again, in seconds. */
  readonly retryAfterSeconds: number | undefined;
  /** Where whoever throws it knows more of that than the code and the request tell. */
  readonly repeat: Repeat | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; retryAfterSeconds?: number; repeat?: Repeat } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.repeat = options.repeat;
  }
}

/** Whether `error` is a FairleadError, of the given code if one is given. */
export function isFairleadError(error: unknown, code?: ErrorCode): error is FairleadError {
  return error instanceof FairleadError && (code === undefined || error.code === code);
}

/** An error as it crosses the wire. */
export interface WireError {
  code: string;
  message: string;
}

/** The wire form of any thrown value. What is not a FairleadError becomes INTERNAL without its text, which may hold secrets. */
export function toWireError(error: unknown): WireError {
  if (error instanceof FairleadError) return { code: error.code, message: error.message };
  return { code: 'INTERNAL', message: 'an unexpected error; its cause is in the log of the end that met it' };
}

/** Codes that speak of the server's own callers, tokens and store: an agent has no say in those. */
const NOT_FOR_AGENTS: ReadonlySet<string> = new Set([
  'UNAUTHORIZED',
  'TOKEN_INVALID',
  'FORBIDDEN',
  'CSR_INVALID',
  'RATE_LIMITED',
  'HOST_NOT_FOUND',
  'HOST_OFFLINE',
  'STORE_FULL',
  'STORE_UNAVAILABLE',
]);

/** What an agent says of a stream it ends: as `fromWireError`, but for codes that are not its to use, and for control characters. */
export function fromAgentError({ code, message }: WireError): FairleadError {
  const text = message.replace(/\p{Cc}+/gu, ' ');
  if (NOT_FOR_AGENTS.has(code)) return new FairleadError('INTERNAL', `${code}: ${text}`);
  return fromWireError({ code, message: text });
}

/** The FairleadError for a wire form. A code this version does not know becomes INTERNAL and keeps its text. */
export function fromWireError(wire: WireError): FairleadError {
  if (Object.hasOwn(ERRORS, wire.code)) return new FairleadError(wire.code as ErrorCode, wire.message);
  return new FairleadError('INTERNAL', `${wire.code}: ${wire.message}`);
}
