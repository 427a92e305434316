/**
 * Unpacks a tar that a host sent, below one path and nowhere else: whatever it says, nothing is written through a symbolic
 * link, above the path, or into what is no plain file.
 */
import { constants, type Stats } from 'node:fs';
import { link, lstat, mkdir, open, symlink, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Entry, Extract, Headers } from 'tar-stream';
import { parseTar } from '../../shared/docker/tar-parser.ts';
import { CliError, systemCode } from './errors.ts';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
/** What everybody may have of a file's mode: never what makes a program run as somebody else. */
const PERMISSIONS = 0o777;
const OWNER_ALL = 0o700;

/** What a tar is of: its first entry. */
export interface TarRoot {
  readonly name: string;
  readonly isDirectory: boolean;
}

export interface UnpackOptions {
  /** Where the root goes; its parent must be there. */
  readonly targetFor: (root: TarRoot) => Promise<string>;
  /** Is told what was left out. */
  readonly warn: (text: string) => void;
}

/** @returns how many entries were unpacked @throws CliError for what would leave the target; what `source` fails with */
export async function unpack(source: Readable, { targetFor, warn }: UnpackOptions): Promise<number> {
  const parser = parseTar(source);
  const failure = failureOf(parser);
  let count = 0;
  let tree: Tree | undefined;
  try {
    for await (const entry of parser) {
      const { header } = entry;
      const parts = partsOf(header.name);
      tree ??= new Tree(parts, await targetFor({ name: parts.at(-1) ?? '', isDirectory: header.type === 'directory' }));
      if (await put(tree, header, entry)) count += 1;
      else warn(`left out: ${header.name} (${header.type})`);
      entry.resume();
    }
    return count;
  } catch (error) {
    // An entry that was not read yet says no more than that it is gone.
    throw explained(systemCode(error) === 'STREAM_DESTROYED' ? ((await failure) ?? error) : error);
  } finally {
    source.destroy();
    parser.on('error', () => undefined).destroy();
  }
}

/** What the parser itself ends with; undefined if that is no error. */
function failureOf(parser: Extract): Promise<Error | undefined> {
  return new Promise((resolve) => {
    parser.once('error', resolve).once('close', () => resolve(undefined));
  });
}

/** The parts of a name in a tar. @throws CliError for one that leads upwards */
function partsOf(name: string): string[] {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new CliError(`the tar has a name that leads out of it, ${JSON.stringify(name)}`);
  return parts;
}

/** Names in a tar, and where they are here. */
class Tree {
  readonly #root: readonly string[];
  readonly #target: string;
  /** The directory that was looked at last: most entries have the parent of the one before. */
  #seen: string | undefined;

  constructor(root: readonly string[], target: string) {
    this.#root = root;
    this.#target = target;
  }

  /**
   * The place of an entry, all directories above it being there.
   * @throws CliError for what is not below the root, or below something that is no directory
   */
  async placeOf(parts: readonly string[]): Promise<string> {
    if (!this.#root.every((part, at) => parts[at] === part)) {
      throw new CliError(`the tar has a name beside what was asked for, ${JSON.stringify(parts.join('/'))}`);
    }
    const below = parts.slice(this.#root.length);
    const place = join(this.#target, ...below);
    if (below.length > 0 && dirname(place) !== this.#seen) {
      let directory = this.#target;
      await makeDirectory(directory);
      for (const part of below.slice(0, -1)) {
        directory = join(directory, part);
        await makeDirectory(directory);
      }
      this.#seen = directory;
    }
    return place;
  }
}

/** @returns whether it is something that is unpacked */
async function put(tree: Tree, header: Headers, entry: Entry): Promise<boolean> {
  const { type, mode, linkname } = header;
  if (!['file', 'contiguous-file', 'directory', 'symlink', 'link'].includes(type ?? '')) return false;
  const place = await tree.placeOf(partsOf(header.name));
  if (type === 'directory') {
    await makeDirectory(place, mode);
    return true;
  }
  if (type === 'link') return await putLink(place, await tree.placeOf(partsOf(linkname ?? '')));
  await makeRoom(place);
  if (type === 'symlink') await symlink(linkname ?? '', place);
  else await putFile(place, header, entry);
  return true;
}

async function putFile(place: string, { mode = 0o644, mtime }: Headers, entry: Entry): Promise<void> {
  const file = await open(place, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    for await (const chunk of entry as AsyncIterable<Buffer>) await file.writeFile(chunk);
    await file.chmod(mode & PERMISSIONS);
    if (mtime != null) await file.utimes(mtime, mtime);
  } finally {
    await file.close();
  }
}

/** A second name of a file that is there already, and of nothing else. */
async function putLink(place: string, of: string): Promise<boolean> {
  if ((await found(of))?.isFile() !== true || of === place) return false;
  await makeRoom(place);
  await link(of, place);
  return true;
}

/** @throws CliError where something else is, a link to a directory too */
async function makeDirectory(place: string, mode = 0o755): Promise<void> {
  const there = await found(place);
  if (there?.isDirectory()) return;
  if (there !== undefined) throw new CliError(`${place} is no directory, and the tar wants to write below it`);
  await mkdir(place, (mode & PERMISSIONS) | OWNER_ALL);
}

/** Takes away what is at a place: a file that is written anew is another one, and no link is followed. */
async function makeRoom(place: string): Promise<void> {
  const there = await found(place);
  if (there === undefined) return;
  if (there.isDirectory()) throw new CliError(`${place} is a directory, and a file in the tar`);
  await unlink(place);
}

async function found(place: string): Promise<Stats | undefined> {
  try {
    return await lstat(place);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function explained(error: unknown): unknown {
  if (error instanceof CliError || !(error instanceof Error)) return error;
  const { syscall, path, code } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new CliError('the disk is full', { cause: error });
  return syscall === undefined || path === undefined
    ? error
    : new CliError(`cannot write ${path} (${code})`, { cause: error });
}
