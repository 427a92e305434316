/** Whether a file system has room. */
import { statfs } from 'node:fs/promises';
import { type Check, fail, ok, warn } from './check.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
/** Below these, in bytes. */
const SHORT_BYTES = GIB;
const FULL_BYTES = 64 * MIB;

export interface Room {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** @throws the file system's error */
async function roomOf(path: string): Promise<Room> {
  const { bavail, blocks, bsize } = await statfs(path);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** @param what `the data directory`; its path is not said to whoever may not know it */
export async function diskCheck(
  id: string,
  what: string,
  path: string,
  { shortBytes = SHORT_BYTES, room = roomOf }: { shortBytes?: number; room?: (path: string) => Promise<Room> } = {},
): Promise<Check> {
  let found: Room;
  try {
    found = await room(path);
  } catch (error) {
    return fail(id, `the disk under ${what} cannot be asked: ${(error as Error).message}`, `look at ${path}`);
  }
  const { freeBytes, totalBytes } = found;
  const percent = Math.floor((100 * freeBytes) / Math.max(1, totalBytes));
  const summary = `${sizeText(freeBytes)} of ${sizeText(totalBytes)} are free under ${what} (${percent} %)`;
  const advice = `free some space on the file system of ${path}`;
  if (freeBytes < Math.min(FULL_BYTES, shortBytes)) return fail(id, summary, advice);
  return freeBytes < shortBytes ? warn(id, summary, advice) : ok(id, summary);
}

/** `1.5 GiB`. */
export function sizeText(bytes: number): string {
  if (bytes >= GIB) return `${(bytes / GIB).toFixed(1)} GiB`;
  return bytes >= MIB ? `${Math.round(bytes / MIB)} MiB` : `${Math.ceil(bytes / 1024)} KiB`;
}
