/** What the API's listener presents: a leaf of our CA, an administrator's own certificate, or nothing. */
import type { ServerOptions } from 'node:https';
import { createSecureContext, type SecureContext, type Server } from 'node:tls';
import { INTERNAL_SERVER_NAME } from '../certs/names.ts';
import type { Authority } from './authority/authority.ts';
import { readApiCertificate, type ServerConfig } from './config.ts';

const MIN_VERSION = 'TLSv1.2';

export interface ApiTls {
  /** Absent: plain HTTP. */
  readonly options: ServerOptions | undefined;
  /** Keeps `server` on the current leaf. @returns a function that stops it */
  follow(server: Server): () => void;
}

/** @throws FairleadError VALIDATION if a configured certificate or key cannot be used */
export async function apiTls(config: ServerConfig, authority: Authority): Promise<ApiTls> {
  if (config.apiTls.mode === 'off') return { options: undefined, follow: () => () => undefined };
  const own = await readApiCertificate(config);
  if (own !== undefined) return fromFiles(own, authority);
  return {
    options: { ...authority.serverTls(), minVersion: MIN_VERSION },
    follow: (server) => authority.onServerTls((leaf) => server.setSecureContext({ ...leaf, minVersion: MIN_VERSION })),
  };
}

/**
 * Agents and the CLI trust our CA alone and ask for the fixed internal name: they get our leaf, everyone else gets the
 * administrator's certificate.
 */
function fromFiles(own: { cert: string; key: string }, authority: Authority): ApiTls {
  let internal = leafContext(authority.serverTls());
  return {
    options: {
      ...own,
      minVersion: MIN_VERSION,
      SNICallback: (name, done) => done(null, name === INTERNAL_SERVER_NAME ? internal : undefined),
    },
    follow: () =>
      authority.onServerTls((leaf) => {
        internal = leafContext(leaf);
      }),
  };
}

function leafContext(leaf: { key: string; cert: string }): SecureContext {
  return createSecureContext({ ...leaf, minVersion: MIN_VERSION });
}
