/** The files of an upgrade: the executable, what stands beside it meanwhile, and the changes that last once they are made. */
import { constants } from 'node:fs';
import { link, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDirectory, writeFileAtomic } from '../../shared/atomic-file.ts';

/** By their parts in an upgrade. */
export interface UpgradePaths {
  readonly executable: string;
  /** What has been downloaded so far, compressed. */
  readonly part: string;
  /** The new executable, once it is whole and is what was signed. */
  readonly next: string;
  /** The one before, until the new one has settled. */
  readonly previous: string;
}

/** @param executable its path, links resolved */
export function pathsFor(executable: string): UpgradePaths {
  return {
    executable,
    part: `${executable}.part`,
    next: `${executable}.next`,
    previous: `${executable}.previous`,
  };
}

/**
 * The disk under the executable. Changes are whole or not at all, and last once they resolve; tests stop between any two, or
 * give another room.
 */
export interface UpgradeDisk {
  write(path: string, text: string, mode: number): Promise<void>;
  /** A file that is not there is no error. */
  remove(path: string): Promise<void>;
  link(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** How many bytes this process may still write below `directory`. */
  free(directory: string): Promise<number>;
}

export const durableDisk: UpgradeDisk = {
  write: writeFileAtomic,
  async remove(path) {
    await rm(path, { force: true });
    await syncDirectory(dirname(path));
  },
  async link(from, to) {
    await link(from, to);
    await syncDirectory(dirname(to));
  },
  async rename(from, to) {
    await rename(from, to);
    await syncDirectory(dirname(to));
  },
  async free(directory) {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  },
};

export async function isThere(path: string): Promise<boolean> {
  return (await bytesOf(path)) !== undefined;
}

/** How large a file is, or undefined if there is none. */
export async function bytesOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Opens a file to write at its end; never through a link that somebody has put there. */
export async function openAtEnd(path: string) {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
  return await open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
}
