/** What `npm start` takes: the options of fairlead-server, of which the launcher itself needs a few. */
import { join, resolve } from 'node:path';

export interface LaunchOptions {
  /** Passed on to fairlead-server as they are. */
  readonly serverArgs: readonly string[];
  readonly dataDir: string;
  /** The state directory of this machine's agent. */
  readonly agentDir: string;
  readonly logLevel: string;
  /** Where the server can be dialled from this machine, whatever its public names are. */
  readonly localApiHost: string;
  readonly localAgentHost: string;
  /** The version or the help of the server is asked for, and nothing is to be started. */
  readonly isQuestion: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** A launch that cannot be, or that ended by itself; `message` says why and what to do. */
export class LaunchError extends Error {
  readonly exitCode: number;

  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? 1;
  }
}

/** Reads the server's options as the server itself will: flags win over the environment. @throws LaunchError */
export function launchOptions(args: readonly string[], env: Environment): LaunchOptions {
  const value = (flag: string, otherwise: string) => {
    const name = `FAIRLEAD_${flag.replaceAll('-', '_').toUpperCase()}`;
    return flagValue(args, flag) ?? (env[name] || otherwise);
  };
  const apiTls = value('api-tls', 'internal');
  if (apiTls !== 'internal') {
    throw new LaunchError(
      `npm start enrolls this machine over the server's own TLS, which --api-tls ${apiTls} turns off: ` +
        'use npm run server -- … and npm run agent -- … instead',
      { exitCode: 2 },
    );
  }
  const dataDir = resolve(value('data-dir', './data'));
  const logLevel = value('log-level', 'warn');
  const hasLogLevel = flagValue(args, 'log-level') !== undefined;
  return {
    serverArgs: hasLogLevel ? args : [...args, '--log-level', logLevel],
    dataDir,
    agentDir: join(dataDir, 'agent'),
    logLevel,
    localApiHost: localHost(value('api-listen', '0.0.0.0:8440')),
    localAgentHost: localHost(value('agent-listen', '0.0.0.0:8443')),
    isQuestion: args.some((arg) => ['--help', '-h', '--version', '-V'].includes(arg)),
  };
}

/** The last value of `--flag value` or `--flag=value`. */
function flagValue(args: readonly string[], flag: string): string | undefined {
  let found: string | undefined;
  for (const [index, arg] of args.entries()) {
    if (arg === `--${flag}`) found = args[index + 1];
    else if (arg.startsWith(`--${flag}=`)) found = arg.slice(flag.length + 3);
  }
  return found;
}

/** The host part of a listen address, or this machine's loopback where it stands for all addresses. */
function localHost(listen: string): string {
  const host = listen.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1');
  if (host === '' || host === '0.0.0.0' || host === '*') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

/** `url` with its host replaced by one that is dialled from here. The TLS name is the same whatever is dialled. */
export function withHost(url: string, host: string): string {
  const changed = new URL(url);
  changed.hostname = host;
  // An URL without a path would be given one.
  return url.endsWith('/') ? changed.href : changed.href.replace(/\/$/, '');
}
