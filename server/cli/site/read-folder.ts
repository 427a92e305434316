/** Reads an unpacked site, in which nothing but folders and plain files may be. */
import { createReadStream } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Found } from './found.ts';

/** What makes a program run as somebody else. */
const SET_IDS = 0o6000;

/** @throws Error for what no site has; what reading fails with */
export async function readFolder(dir: string): Promise<Found> {
  const found = new Found();
  const add = async (path: string): Promise<void> => {
    for (const name of (await readdir(join(dir, path))).sort()) {
      const below = path === '' ? name : `${path}/${name}`;
      const facts = await lstat(join(dir, below));
      if (facts.isDirectory()) await add(below);
      else if (!facts.isFile()) throw new Error(`${JSON.stringify(below)} is neither a file nor a folder`);
      else if ((facts.mode & SET_IDS) !== 0) throw new Error(`${JSON.stringify(below)} runs as its owner or group`);
      else await found.add(below, createReadStream(join(dir, below)));
    }
  };
  await add('');
  return found;
}
