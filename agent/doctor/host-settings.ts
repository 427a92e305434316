/** Where the agent of this host finds Docker and by which proxy it goes out: what it says itself, or else its service's settings. */
import { readFileSync } from 'node:fs';
import { FairleadError } from '../../shared/errors.ts';
import { type ProxyNote, readRun } from '../identity/state-lock.ts';

/** Where install.sh puts the environment of the service, which works in the default state directory. */
export const SETTINGS_FILE = '/etc/default/fairlead-agent';

type Env = Readonly<Record<string, string | undefined>>;

export interface SettingsSource {
  /** Absolute. */
  readonly stateDir: string;
  /** The environment of the service; absent: nothing is installed that works in `stateDir`. */
  readonly file?: string;
  /** Docker's address as the command line or the environment gives it; absent: neither does. */
  readonly docker?: string;
  readonly env: Env;
}

export interface HostSettings {
  /** As --docker takes it; absent: nothing says. */
  readonly docker?: string;
  /** The variables of the proxy, with its password where it has one. */
  readonly proxyEnv: Env;
}

/**
 * What is given wins, then what the running agent says, then the settings of the service.
 * @throws FairleadError VALIDATION for files that cannot be read
 */
export function hostSettings({ stateDir, file, docker, env }: SettingsSource): HostSettings {
  const run = readRun(stateDir);
  const service = file === undefined ? {} : readSettings(file);
  const address = docker ?? run?.dockerAddress ?? service['FAIRLEAD_DOCKER'];
  return {
    ...(address === undefined ? {} : { docker: address }),
    proxyEnv: proxyUrl(env) !== undefined ? env : serviceProxy(run, service),
  };
}

/** An agent that says where it asks Docker says of a proxy, too: none means that it dials directly. */
function serviceProxy(run: ReturnType<typeof readRun>, service: Env): Env {
  if (run?.dockerAddress === undefined) return service;
  const { proxy } = run;
  if (proxy === undefined) return {};
  // The agent writes no password down.
  const url = proxyNote(service)?.url === proxy.url ? proxyUrl(service) : proxy.url;
  return { HTTPS_PROXY: url, NO_PROXY: proxy.noProxy };
}

/** The proxy that an environment names, as others may see it: without user and password. */
export function proxyNote(env: Env): ProxyNote | undefined {
  const given = proxyUrl(env);
  if (given === undefined) return undefined;
  const url = URL.parse(given);
  const noProxy = env['no_proxy'] || env['NO_PROXY'];
  if (url === null) return undefined;
  return { url: `${url.protocol}//${url.host}`, ...(noProxy ? { noProxy } : {}) };
}

function proxyUrl(env: Env): string | undefined {
  return env['https_proxy'] || env['HTTPS_PROXY'] || undefined;
}

/** Lines KEY=VALUE, as systemd and a shell both take them. */
function readSettings(file: string): Env {
  const settings: Record<string, string> = {};
  for (const line of textOf(file).split('\n')) {
    const [, key, value = ''] = /^\s*([A-Za-z_]\w*)=(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined) settings[key] = value.replace(/^(["'])(.*)\1$/, '$2');
  }
  return settings;
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    // Nothing is installed; or it is another user's to read, as the state directory is, of which a check tells.
    if (code === 'ENOENT' || code === 'EACCES') return '';
    throw new FairleadError('VALIDATION', `the settings of the service, ${file}, cannot be read (${String(code)})`, {
      cause: error,
    });
  }
}
