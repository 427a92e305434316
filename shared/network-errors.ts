/** Tells failures to reach a server apart, in words that a person can act on. */

/** What stood in the way of a connection. */
export type NetworkFailure = 'dns' | 'refused' | 'unreachable' | 'timeout' | 'tls' | 'proxy' | 'closed' | 'other';

/** Failures after which the other end cannot have seen a request. */
export const NEVER_SENT: ReadonlySet<NetworkFailure> = new Set(['dns', 'refused', 'unreachable', 'tls', 'proxy']);

const CODES: Readonly<Record<string, NetworkFailure>> = {
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  EAI_FAIL: 'dns',
  EAI_NODATA: 'dns',
  EAI_NONAME: 'dns',
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
  ENETDOWN: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  ETIMEDOUT: 'timeout',
  ESOCKETTIMEDOUT: 'timeout',
  ERR_PROXY_TUNNEL: 'proxy',
  ERR_PROXY_INVALID_CONFIG: 'proxy',
  ECONNRESET: 'closed',
  EPIPE: 'closed',
  EPROTO: 'tls',
  CERT_HAS_EXPIRED: 'tls',
  CERT_NOT_YET_VALID: 'tls',
  CERT_SIGNATURE_FAILURE: 'tls',
  CERT_UNTRUSTED: 'tls',
  CERT_REJECTED: 'tls',
  CERT_CHAIN_TOO_LONG: 'tls',
  INVALID_CA: 'tls',
  INVALID_PURPOSE: 'tls',
  PATH_LENGTH_EXCEEDED: 'tls',
  HOSTNAME_MISMATCH: 'tls',
  SELF_SIGNED_CERT_IN_CHAIN: 'tls',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'tls',
  UNABLE_TO_GET_ISSUER_CERT: 'tls',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'tls',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'tls',
};

const CLOCK_CODES = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);

const SENTENCES: Readonly<Record<Exclude<NetworkFailure, 'tls'>, string>> = {
  dns: 'its name cannot be resolved (DNS)',
  refused: 'the connection was refused: nothing listens there, or a firewall rejects it',
  unreachable: 'there is no route to it',
  timeout: 'it did not answer in time',
  proxy: 'the proxy of HTTPS_PROXY did not let the connection through',
  closed: 'it closed the connection without an answer',
  other: 'the connection failed',
};

/** A failure to talk to a server: its kind, for logs and decisions, and a sentence that names `target`. */
export function explainNetworkError(error: unknown, target: string): { failure: NetworkFailure; message: string } {
  const code = codeOf(error);
  const failure = failureOf(code, error);
  const sentence = failure === 'tls' ? tlsSentence(code) : SENTENCES[failure];
  const suffix = code === '' ? '' : ` [${code}]`;
  return { failure, message: `${target} cannot be reached: ${sentence}${suffix}` };
}

function failureOf(code: string, error: unknown): NetworkFailure {
  const known = CODES[code];
  if (known !== undefined) return known;
  if (code.startsWith('ERR_TLS_') || code.startsWith('ERR_SSL_')) return 'tls';
  const name = error instanceof Error ? error.name : '';
  // ws reports its handshake timeout by this text alone.
  const text = error instanceof Error ? error.message : '';
  if (name === 'TimeoutError' || text === 'Opening handshake has timed out') return 'timeout';
  return 'other';
}

function tlsSentence(code: string): string {
  if (code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER') return 'what listens there does not speak this TLS';
  if (CLOCK_CODES.has(code)) return "its certificate is not valid now; check this machine's clock";
  if (code.includes('ALERT')) return 'it refused the TLS handshake';
  return 'its certificate does not come from the CA this end trusts: another server, or something in between';
}

/** The error's code; of several attempts (one per address), that of the first. */
function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  if ('code' in error && typeof error.code === 'string') return error.code;
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  return '';
}
