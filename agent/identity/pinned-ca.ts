/**
 * Finds the roots to trust: the one whose pin the token carries, and those that it endorses. Nothing the network says can
 * change the pin.
 */
import type { Agent } from 'node:https';
import { certificateBlocks } from '../../certs/pem.ts';
import { MAX_BUNDLE_BYTES, pemOf, trustFrom } from '../../certs/trust.ts';
import { FairleadError } from '../../shared/errors.ts';
import { fetchUntrusted, UnreachableError } from '../../shared/pinned-http.ts';

export interface PinnedCaOptions {
  /** The server's URL. */
  readonly server: string;
  /** The pin in the token. */
  readonly pin: string;
  /** A pin the user gave besides; must be the same. */
  readonly fingerprint?: string;
  /** CA certificates the user gave besides, as PEM; one must have the same pin. Then nothing is fetched. */
  readonly caPem?: string;
  readonly httpsAgent?: Agent;
  readonly signal?: AbortSignal;
  /** ms since 1970: endorsements are valid for a time. */
  readonly now: number;
}

/**
 * The roots that the token's pin leads to, as PEM, in the order in which they are published.
 * @throws FairleadError VALIDATION when pins disagree, UnreachableError when the server cannot be asked
 */
export async function pinnedCa(options: PinnedCaOptions): Promise<string> {
  const { pin, fingerprint, caPem } = options;
  if (fingerprint !== undefined && bare(fingerprint) !== bare(pin)) {
    throw new FairleadError(
      'VALIDATION',
      '--ca-fingerprint differs from the fingerprint in the token: one is of another server',
    );
  }
  if (caPem !== undefined) {
    const ca = pick(caPem, options);
    if (ca === undefined) throw new FairleadError('VALIDATION', '--ca-file is not the CA that the token was made by');
    return ca;
  }
  const ca = pick(await fetchCa(options), options);
  if (ca === undefined) {
    throw new FairleadError(
      'VALIDATION',
      `${options.server} has another CA than the token names: the token is of another server, or from before the CA was ` +
        'changed (make a new one), or somebody stands in between; nothing was sent',
    );
  }
  return ca;
}

async function fetchCa(options: PinnedCaOptions): Promise<string> {
  const { server, httpsAgent, signal } = options;
  try {
    const text = await fetchUntrusted(server, {
      maxBytes: MAX_BUNDLE_BYTES,
      ...(httpsAgent === undefined ? {} : { agent: httpsAgent }),
      ...(signal === undefined ? {} : { signal }),
    });
    if (certificateBlocks(text).length === 0) throw notFairlead(server, 'its /ca.pem holds no certificate');
    return text;
  } catch (error) {
    if (error instanceof FairleadError && error.code === 'PAYLOAD_TOO_LARGE') {
      throw notFairlead(server, 'its /ca.pem is no CA certificate');
    }
    if (error instanceof UnreachableError && error.failure === 'tls') {
      const hint = "give the URL of the API (port 8440 by default), not that of the agents' port";
      throw new UnreachableError('tls', `${error.message}; ${hint}`, error);
    }
    throw error;
  }
}

/** The roots in `bundle` that `pin` leads to; undefined if it leads to none. */
function pick(bundle: string, { pin, now }: PinnedCaOptions): string | undefined {
  const roots = trustFrom(bundle, pin, now);
  return roots.length === 0 ? undefined : pemOf(roots);
}

function bare(pin: string): string {
  return pin
    .trim()
    .toLowerCase()
    .replace(/^sha256:/, '');
}

function notFairlead(server: string, why: string): UnreachableError {
  return new UnreachableError('other', `${server} is no Fairlead server: ${why}`);
}
