/** The stored login: server, what it is trusted by, and the API token, in a file that only its owner can read. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import Type, { type Static } from 'typebox';
import { fits } from '../../shared/validate.ts';
import { CliError, systemCode } from './errors.ts';
import { Trust } from './trust.ts';

const Context = Type.Object({
  version: Type.Literal(1),
  server: Type.String(),
  trust: Trust,
  token: Type.String(),
});
export type Context = Static<typeof Context>;

/** `$XDG_CONFIG_HOME/fairlead/context.json`, or the same under `~/.config`. */
export function contextPath(env: Readonly<Record<string, string | undefined>>): string {
  // The XDG specification says to ignore a relative path.
  const configured = env['XDG_CONFIG_HOME'];
  const base = configured && isAbsolute(configured) ? configured : join(env['HOME'] || homedir(), '.config');
  return join(base, 'fairlead', 'context.json');
}

/** Reads the context; undefined if there is none. @throws CliError if it cannot be read or others can read it. */
export async function loadContext(path: string): Promise<Context | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
    if (((await stat(path)).mode & 0o077) !== 0) {
      throw new CliError(`${path} holds an API token and others can read it: run chmod 600 ${path}`);
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error instanceof CliError ? error : new CliError(`cannot read ${path}: ${(error as Error).message}`);
  }
  const value = parse(text);
  if (!fits(Context, value)) throw new CliError(`${path} is damaged: run \`fairlead login\` again`);
  return value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // reported as damaged by the caller
  }
}

/** Writes the context with mode 0600, whole or not at all. */
export async function saveContext(path: string, context: Context): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(context, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new CliError(`cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Removes the context. @returns whether there was one. */
export async function removeContext(path: string): Promise<boolean> {
  try {
    await rm(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw new CliError(`cannot remove ${path}: ${(error as Error).message}`, { cause: error });
  }
}
