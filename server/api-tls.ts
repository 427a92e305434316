/** What the API's listener presents: a leaf of our CA, an administrator's own certificate, or nothing. */
import { readFile } from 'node:fs/promises';
import type { ServerOptions } from 'node:https';
import { createSecureContext, type SecureContext, type Server } from 'node:tls';
import { INTERNAL_SERVER_NAME } from '../certs/names.ts';
import { FairleadError } from '../shared/errors.ts';
import type { Authority } from './authority/authority.ts';
import type { ServerConfig } from './config.ts';

const MIN_VERSION = 'TLSv1.2';

export interface ApiTls {
  /** Absent: plain HTTP. */
  readonly options: ServerOptions | undefined;
  /** Keeps `server` on the current leaf. @returns a function that stops it */
  follow(server: Server): () => void;
}

/** @throws FairleadError VALIDATION if the certificate or key cannot be read or do not fit together */
export async function apiTls(config: ServerConfig, authority: Authority): Promise<ApiTls> {
  if (config.apiTls === 'off') return { options: undefined, follow: () => () => undefined };
  if (config.apiTls === 'internal') {
    return {
      options: { ...authority.serverTls(), minVersion: MIN_VERSION },
      follow: (server) =>
        authority.onServerTls((leaf) => server.setSecureContext({ ...leaf, minVersion: MIN_VERSION })),
    };
  }
  return await certificateFromFiles(config, authority);
}

/**
 * Agents and the CLI trust our CA alone and ask for the fixed internal name: they get our leaf, everyone else gets the
 * administrator's certificate.
 */
async function certificateFromFiles(config: ServerConfig, authority: Authority): Promise<ApiTls> {
  let internal = leafContext(authority.serverTls());
  const own = await readPair(config);
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

async function readPair({ apiCert, apiKey }: ServerConfig): Promise<{ cert: string; key: string }> {
  if (apiCert === undefined || apiKey === undefined) {
    throw new FairleadError('VALIDATION', '--api-tls files needs --api-cert and --api-key');
  }
  try {
    const pair = { cert: await readFile(apiCert, 'utf8'), key: await readFile(apiKey, 'utf8') };
    createSecureContext(pair);
    return pair;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FairleadError('VALIDATION', `--api-cert and --api-key cannot be used: ${why}`, { cause: error });
  }
}

function leafContext(leaf: { key: string; cert: string }): SecureContext {
  return createSecureContext({ ...leaf, minVersion: MIN_VERSION });
}
