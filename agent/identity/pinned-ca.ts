/** Finds the one CA to trust: the certificate whose pin the token carries. Nothing the network says can change the pin. */
import { X509Certificate } from 'node:crypto';
import type { Agent } from 'node:https';
import { pinMatches } from '../../certs/pin.ts';
import { FairleadError } from '../../shared/errors.ts';
import { fetchUntrusted, UnreachableError } from '../../shared/pinned-http.ts';

const MAX_CA_BYTES = 64 * 1024;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

export interface PinnedCaOptions {
  /** The server's URL. */
  readonly server: string;
  /** The pin in the token. */
  readonly pin: string;
  /** A pin the user gave besides; must be the same. */
  readonly fingerprint?: string;
  /** A CA certificate the user gave besides, as PEM; must have the same pin. Then nothing is fetched. */
  readonly caPem?: string;
  readonly httpsAgent?: Agent;
  readonly signal?: AbortSignal;
}

/**
 * The CA certificate with the token's pin, as PEM.
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
    const ca = pick(caPem, pin);
    if (ca === undefined) throw new FairleadError('VALIDATION', '--ca-file is not the CA that the token was made by');
    return ca;
  }
  const ca = pick(await fetchCa(options), pin);
  if (ca === undefined) {
    throw new FairleadError(
      'VALIDATION',
      `${options.server} has another CA than the token names: the token is of another server, or somebody stands in ` +
        'between; nothing was sent',
    );
  }
  return ca;
}

async function fetchCa(options: PinnedCaOptions): Promise<string> {
  const { server, httpsAgent, signal } = options;
  try {
    const text = await fetchUntrusted(server, {
      maxBytes: MAX_CA_BYTES,
      ...(httpsAgent === undefined ? {} : { agent: httpsAgent }),
      ...(signal === undefined ? {} : { signal }),
    });
    if (text.match(PEM_CERTIFICATE) === null) throw notFairlead(server, 'its /ca.pem holds no certificate');
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

/** The certificate in `bundle` that has `pin` and is a CA, alone: nothing else in the bundle is trusted with it. */
function pick(bundle: string, pin: string): string | undefined {
  for (const block of bundle.match(PEM_CERTIFICATE) ?? []) {
    const pem = `${block.replaceAll('\r', '')}\n`;
    if (isCa(pem) && pinMatches(pin, pem)) return pem;
  }
  return undefined;
}

function isCa(pem: string): boolean {
  try {
    return new X509Certificate(pem).ca;
  } catch {
    // Not a certificate, whatever its label says.
    return false;
  }
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
