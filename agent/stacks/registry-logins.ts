/** Logins at registries that come with a change: they are in a file for Docker's client as long as Compose runs, and no longer. */
import { readFile } from 'node:fs/promises';
import { asObject } from '../../shared/docker/json.ts';
import { FairleadError } from '../../shared/errors.ts';

export interface RegistryLogin {
  /** As Docker's client names it: its host, or a URL. */
  readonly registry: string;
  readonly user: string;
  readonly password: string;
}

/**
 * The configuration of Docker's client that has `logins` beside what the host's owner has put into his own.
 * @param own the owner's file, which need not be there
 * @throws FairleadError VALIDATION for one that cannot be read
 */
export async function clientConfig(own: string, logins: readonly RegistryLogin[]): Promise<string> {
  const config = await readConfig(own);
  const auths = logins.map(({ registry, user, password }) => {
    return [registry, { auth: Buffer.from(`${user}:${password}`, 'utf8').toString('base64') }] as const;
  });
  return JSON.stringify({ ...config, auths: { ...asObject(config['auths'] ?? {}), ...Object.fromEntries(auths) } });
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  try {
    return asObject(JSON.parse(await readFile(path, 'utf8')));
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return {};
    // What a parser says quotes the file, which has secrets.
    throw new FairleadError('VALIDATION', `${path} cannot be read as the configuration of Docker's client`);
  }
}
