/** `cp`: files of containers to this machine and back, as `docker cp` does it. */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import type { Command } from 'commander';
import { isFairleadError } from '../../../shared/errors.ts';
import { printable } from '../../../shared/printable.ts';
import { type ApiClient, path } from '../api-client.ts';
import { type ActionContext, act, type Cli } from '../commander.ts';
import { brokenOff, CliError, systemCode, usageError } from '../errors.ts';
import { type CliIo, write } from '../io.ts';
import { packPath } from '../pack.ts';
import { TAR } from '../tars.ts';
import { unpack } from '../unpack.ts';

/** Time until the host begins. */
const BEGIN_MS = 120_000;
/** Bits of a mode as Docker, which is written in Go, has it. */
const GO_DIRECTORY = 2 ** 31;
const GO_SYMLINK = 2 ** 27;

interface Remote {
  readonly host: string;
  readonly container: string;
  readonly path: string;
}

export function addCp(root: Command, cli: Cli): void {
  const cp = root
    .command('cp')
    .description('copy files of a container to this machine, or back')
    .argument('<source>', 'HOST:CONTAINER:PATH, a local path, or - for a tar from standard input')
    .argument('<target>', 'likewise; - writes a tar to standard output')
    .addHelpText(
      'after',
      '\nA directory is copied into a target that is there, or as it; PATH/. is what is in a directory. A local path with ' +
        'colons begins with ./ or /.\n\nExample: fairlead cp my-host:web:/etc/nginx ./nginx',
    );
  act<object, [string, string]>(cp, cli, async (context, source, target) => {
    const [from, to] = [parseRemote(source), parseRemote(target)];
    if (from !== undefined && to === undefined) return await copyOut(context, from, target);
    if (from === undefined && to !== undefined) return await copyIn(context, source, to);
    throw usageError('one of both must be HOST:CONTAINER:PATH, and the other one a path of this machine');
  });
}

/** Undefined for a path of this machine. */
function parseRemote(text: string): Remote | undefined {
  const [, host, container, path] = /^([^:/.][^:/]*):([^:/]+):(.+)$/s.exec(text) ?? [];
  if (host === undefined || container === undefined || path === undefined) return undefined;
  return { host, container, path: path.startsWith('/') ? path : `/${path}` };
}

const archiveOf = ({ host, container }: Remote) => path`/api/v1/hosts/${host}/containers/${container}/archive`;

function warner(io: CliIo): (text: string) => void {
  return (text) => void write(io.stderr, `fairlead: ${printable(text)}\n`);
}

async function copyOut({ api, io }: ActionContext<object>, from: Remote, target: string): Promise<void> {
  if (target === '-' && io.stdout.isTTY) throw usageError('a tar is nothing for a terminal: send it elsewhere');
  const query = { path: from.path };
  const body = await api.stream(archiveOf(from), { accept: TAR, query, timeoutMs: BEGIN_MS });
  try {
    if (target === '-') {
      for await (const chunk of body as AsyncIterable<Buffer>) await write(io.stdout, chunk);
      return;
    }
    const isContent = isContentOf(from.path);
    await unpack(body, {
      warn: warner(io),
      targetFor: ({ isDirectory }) => placeFor(target, { name: posix.basename(from.path), isDirectory, isContent }),
    });
  } catch (error) {
    throw brokenOff(error);
  }
}

const isContentOf = (path: string) => path === '.' || path.endsWith('/.');

interface Copied {
  readonly name: string;
  readonly isDirectory: boolean;
  readonly isContent: boolean;
}

/** Where a copy goes. @throws CliError */
async function placeFor(target: string, { name, isDirectory, isContent }: Copied): Promise<string> {
  const there = await localFacts(target);
  if (there?.isDirectory()) {
    const directory = await realpath(target);
    return isContent || name === '' ? directory : join(directory, name);
  }
  if (there !== undefined && isDirectory) throw new CliError(`${target} is a file, and a directory is to be copied`);
  if (there === undefined && !isDirectory && target.endsWith('/'))
    throw new CliError(`there is no directory ${target}`);
  const parent = dirname(resolve(target));
  if (!(await localFacts(parent))?.isDirectory()) throw new CliError(`there is no directory ${parent}`);
  return join(await realpath(parent), basename(resolve(target)));
}

async function localFacts(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw new CliError(`cannot read ${path} (${systemCode(error)})`, { cause: error });
  }
}

async function copyIn({ api, io }: ActionContext<object>, source: string, to: Remote): Promise<void> {
  if (source === '-') return await send(api, to, to.path, io.stdin);
  const facts = await localFacts(source);
  if (facts === undefined) throw new CliError(`there is no ${source}`);
  const there = await remoteFacts(api, to);
  const { directory, name } = remotePlace(to.path, there, {
    name: basename(resolve(source)),
    isDirectory: facts.isDirectory(),
    isContent: isContentOf(source),
  });
  await send(api, to, directory, packPath(source, { name, warn: warner(io) }));
}

async function send(api: ApiClient, to: Remote, directory: string, bytes: CliIo['stdin']): Promise<void> {
  const query = { path: directory, noOverwriteDirNonDir: 1 };
  await api.call<void>('PUT', archiveOf(to), { query, content: { type: TAR, bytes } });
}

/** The directory in the container, and the name in it. @throws CliError */
function remotePlace(
  path: string,
  there: { readonly isDirectory: boolean; readonly path: string } | undefined,
  { name, isDirectory, isContent }: Copied,
): { directory: string; name: string } {
  if (there?.isDirectory) return { directory: there.path, name: isContent ? '' : name };
  if (there !== undefined && isDirectory) {
    throw new CliError(`${path} is a file in the container, and a directory is to be copied`);
  }
  if (there === undefined && !isDirectory && path.endsWith('/')) {
    throw new CliError(`there is no directory ${path} in the container`);
  }
  const trimmed = (there?.path ?? path).replace(/\/+\.?$/, '');
  return { directory: posix.dirname(trimmed), name: posix.basename(trimmed) };
}

/** What is at a path of a container, a link followed once; undefined: nothing. */
async function remoteFacts(api: ApiClient, remote: Remote, isFollowed = false) {
  try {
    const response = await api.stream(archiveOf(remote), {
      accept: TAR,
      query: { path: remote.path },
      timeoutMs: BEGIN_MS,
    });
    response.on('error', () => undefined).destroy();
    const text = Buffer.from(String(response.headers['x-docker-container-path-stat'] ?? ''), 'base64').toString('utf8');
    const { mode, linkTarget } = JSON.parse(text) as { mode: number; linkTarget?: string };
    const isLink = Math.floor(mode / GO_SYMLINK) % 2 === 1;
    if (isLink && !isFollowed && linkTarget) return await remoteFacts(api, { ...remote, path: linkTarget }, true);
    return { isDirectory: Math.floor(mode / GO_DIRECTORY) % 2 === 1, path: remote.path };
  } catch (error) {
    if (isFairleadError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}
