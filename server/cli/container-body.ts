/** Docker's body for a new container, of options that are named as in `docker create`. */
import { readFile } from 'node:fs/promises';
import { CliError, usageError } from './errors.ts';
import type { CliIo } from './io.ts';

export interface ContainerOptions {
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
  readonly label?: Readonly<Record<string, string>>;
  readonly publish?: readonly string[];
  readonly volume?: readonly string[];
  readonly restart?: string;
  readonly network?: string;
  readonly entrypoint?: string;
  readonly hostname?: string;
  readonly user?: string;
  readonly workdir?: string;
  readonly tty?: boolean;
  readonly interactive?: boolean;
  readonly privileged?: boolean;
  readonly config?: string;
}

type Body = Record<string, unknown>;

/**
 * The body that a file of `options.config` has, with what the other options say.
 * @throws CliError for a file that cannot be read, or an option that cannot be understood
 */
export async function containerBody(image: string, command: readonly string[], options: ContainerOptions, io: CliIo) {
  const base = options.config === undefined ? {} : await bodyOf(options.config);
  const { HostConfig, ...rest } = base;
  const { user, workdir, hostname, entrypoint, tty, interactive } = options;
  return {
    ...rest,
    Image: image,
    ...(command.length === 0 ? {} : { Cmd: command }),
    ...listed('Env', base, await environment(options, io)),
    ...(options.label === undefined ? {} : { Labels: { ...objectIn(base, 'Labels'), ...options.label } }),
    ...(user === undefined ? {} : { User: user }),
    ...(workdir === undefined ? {} : { WorkingDir: workdir }),
    ...(hostname === undefined ? {} : { Hostname: hostname }),
    ...(entrypoint === undefined ? {} : { Entrypoint: [entrypoint] }),
    ...(tty === true ? { Tty: true } : {}),
    ...(interactive === true ? { OpenStdin: true, StdinOnce: true, AttachStdin: true } : {}),
    ...exposed(base, options.publish ?? []),
    HostConfig: hostConfig(objectIn({ HostConfig }, 'HostConfig'), options),
  };
}

async function bodyOf(file: string): Promise<Body> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new CliError(`cannot read a container's JSON from ${file}: ${(error as Error).message}`, { cause: error });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Body;
  throw new CliError(`${file} holds no JSON object`);
}

function objectIn(body: Body, name: string): Body {
  const value = body[name];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Body) : {};
}

/** A list of the body with more behind it; nothing when there is no more. */
function listed(name: string, body: Body, more: readonly string[]): Body {
  if (more.length === 0) return {};
  const before = body[name];
  return { [name]: [...(Array.isArray(before) ? before : []), ...more] };
}

/** A variable without a value is taken from where the command runs, if it is there. */
async function environment({ env = [], envFile = [] }: ContainerOptions, io: CliIo): Promise<string[]> {
  const lines = await Promise.all(envFile.map(linesOf));
  return [...lines.flat(), ...env].flatMap((entry) => {
    if (entry.includes('=')) return [entry];
    const value = io.env[entry];
    return value === undefined ? [] : [`${entry}=${value}`];
  });
}

async function linesOf(file: string): Promise<string[]> {
  try {
    const text = await readFile(file, 'utf8');
    return text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.trimStart().startsWith('#'));
  } catch (error) {
    throw new CliError(`cannot read the environment file: ${(error as Error).message}`, { cause: error });
  }
}

function hostConfig(base: Body, { publish = [], volume = [], restart, network, privileged }: ContainerOptions): Body {
  return {
    ...base,
    ...listed('Binds', base, volume),
    ...(publish.length === 0 ? {} : { PortBindings: bindings(objectIn(base, 'PortBindings'), publish) }),
    ...(restart === undefined ? {} : { RestartPolicy: restartPolicy(restart) }),
    ...(network === undefined ? {} : { NetworkMode: network }),
    ...(privileged === true ? { Privileged: true } : {}),
  };
}

function restartPolicy(text: string): Body {
  const [, name, count] = /^(no|always|unless-stopped|on-failure(?::(\d{1,6}))?)$/.exec(text) ?? [];
  if (name === undefined) throw usageError('--restart is no, always, unless-stopped or on-failure[:TIMES]');
  if (count === undefined) return { Name: name };
  return { Name: 'on-failure', MaximumRetryCount: Number(count) };
}

interface Published {
  /** `80/tcp` */
  readonly port: string;
  readonly binding: { readonly HostIp?: string; readonly HostPort: string };
}

/** `[[ADDRESS:]PORT:]PORT[/PROTOCOL]`; an IPv6 address stands in brackets. */
const PUBLISHED = /^(?:(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(\d{1,5})?:)?(\d{1,5})(\/(?:tcp|udp|sctp))?$/;

function published(text: string): Published {
  const [, address, hostPort = '', port, protocol = '/tcp'] = PUBLISHED.exec(text) ?? [];
  if (port === undefined) throw usageError(`'${text}' cannot be published: write [[ADDRESS:]PORT:]PORT[/tcp|/udp]`);
  const ip = address === undefined ? {} : { HostIp: address.replace(/[[\]]/g, '') };
  return { port: `${port}${protocol}`, binding: { ...ip, HostPort: hostPort } };
}

function bindings(base: Body, publish: readonly string[]): Body {
  const all: Record<string, unknown[]> = {};
  for (const [port, list] of Object.entries(base)) all[port] = Array.isArray(list) ? [...list] : [];
  for (const { port, binding } of publish.map(published)) all[port] = [...(all[port] ?? []), binding];
  return all;
}

function exposed(base: Body, publish: readonly string[]): Body {
  if (publish.length === 0) return {};
  const ports = Object.fromEntries(publish.map((text) => [published(text).port, {}]));
  return { ExposedPorts: { ...objectIn(base, 'ExposedPorts'), ...ports } };
}
