/** The entries of one directory of a volume, picked from the headers of an archive. */
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import type { Headers } from 'tar-stream';
import type { Item } from '../../shared/messages/kind.ts';
import type { volumeBrowse } from '../../shared/messages/volume-content.ts';
import { visitEntries } from './tar.ts';

type Entry = Item<typeof volumeBrowse>;

/**
 * Calls `take` with the entries that stand in the archive's first directory, `limit` at most, until `isOver` says so.
 * @param source an archive whose names begin with `./`
 * @returns whether there may be more
 */
export async function pickEntries(
  source: Readable,
  { limit, isOver, take }: { limit: number; isOver: () => boolean; take: (entry: Entry) => void },
): Promise<boolean> {
  let taken = 0;
  let truncated = false;
  await visitEntries(source, (header) => {
    const name = posix.normalize(header.name).replace(/\/$/, '');
    const isOfDirectory = name !== '.' && !name.includes('/');
    truncated = (isOfDirectory && taken === limit) || isOver();
    if (truncated) return false;
    if (isOfDirectory) {
      take(entryOf(name, header));
      taken += 1;
    }
    return true;
  });
  return truncated;
}

function entryOf(name: string, { type, size, mode, uid, gid, mtime, linkname }: Headers): Entry {
  return {
    name,
    type: type ?? 'file',
    size: size ?? 0,
    mode: (mode ?? 0) & 0o7777,
    uid: uid ?? 0,
    gid: gid ?? 0,
    mtime: (mtime ?? new Date(0)).toISOString(),
    ...(linkname ? { linkTarget: type === 'link' ? posix.normalize(linkname) : linkname } : {}),
  };
}
