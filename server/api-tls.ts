/** What the API's listener presents: a leaf of our CA, an administrator's own certificate, or nothing; and whom it asks back. */
import { constants } from 'node:crypto';
import type { ServerOptions } from 'node:https';
import { createSecureContext, type SecureContextOptions, type Server } from 'node:tls';
import { INTERNAL_SERVER_NAME } from '../certs/names.ts';
import { CertificateFiles, type CertificateFilesOptions } from './api-certificate-files.ts';
import type { Authority } from './authority/authority.ts';
import type { ServerConfig } from './config.ts';

/** Clients are asked for a certificate of our CA; what it is worth is judged at each request, with or without one. */
const ASK = { requestCert: true, rejectUnauthorized: false };

export interface ApiTls {
  /** Absent: plain HTTP. */
  readonly options: ServerOptions | undefined;
  /** Keeps `server` on the current certificate. @returns a function that stops it */
  follow(server: Server): () => void;
  /** Looks now whether the configured files have changed. Never rejects. */
  reload(): Promise<void>;
}

/** @throws FairleadError VALIDATION if a configured certificate or key cannot be used */
export async function apiTls(
  config: Pick<ServerConfig, 'apiTls'>,
  authority: Authority,
  { clock, log }: Pick<CertificateFilesOptions, 'clock' | 'log'>,
): Promise<ApiTls> {
  const reload = async () => undefined;
  if (config.apiTls.mode === 'off') return { options: undefined, follow: () => () => undefined, reload };
  if (config.apiTls.mode === 'files') {
    return fromFiles(await CertificateFiles.open({ files: config.apiTls, clock, log }), authority);
  }
  return {
    options: { ...context(authority.serverTls(), authority), ...ASK },
    follow: (server) => {
      const refresh = () => server.setSecureContext(context(authority.serverTls(), authority));
      return onEither(authority, refresh);
    },
    reload,
  };
}

/**
 * Agents and the CLI trust our CA alone and ask for the fixed internal name: they get our leaf, everyone else gets the
 * administrator's certificate.
 */
function fromFiles(files: CertificateFiles, authority: Authority): ApiTls {
  let internal = createSecureContext(context(authority.serverTls(), authority));
  return {
    options: {
      ...context(files.current, authority),
      ...ASK,
      SNICallback: (name, done) => done(null, name === INTERNAL_SERVER_NAME ? internal : undefined),
    },
    follow: (server) => {
      const refresh = () => {
        internal = createSecureContext(context(authority.serverTls(), authority));
        server.setSecureContext(context(files.current, authority));
      };
      const stop = onEither(authority, refresh);
      files.follow((own) => server.setSecureContext(context(own, authority)));
      return () => {
        stop();
        files.close();
      };
    },
    reload: () => files.look({ now: true }),
  };
}

/** Calls `listener` whenever our own leaf was renewed or another set of roots is trusted. @returns what ends that */
function onEither(authority: Authority, listener: () => void): () => void {
  const stops = [authority.onServerTls(listener), authority.onTrust(listener)];
  return () => {
    for (const stop of stops) stop();
  };
}

/** Without tickets or renegotiation: a connection is as its one handshake found it, and each one has a handshake. */
function context(own: { key: string; cert: string }, authority: Authority): SecureContextOptions {
  return {
    ...own,
    ca: authority.trust().clientCaPem,
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}
