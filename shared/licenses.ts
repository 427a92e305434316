/** The licences of all that a program is made of, as the build has put them together. */
import { readFile } from 'node:fs/promises';
import { getAsset, isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { FairleadError } from './errors.ts';

/** In an executable; in `dist/`, in the npm package and in a site archive a file of that name. */
export const LICENSES_FILE = 'LICENSES.txt';

/** @throws FairleadError NOT_FOUND where programs run from their sources and nothing was built */
export async function readLicenses(): Promise<string> {
  if (isSea()) return getAsset(LICENSES_FILE, 'utf8');
  // From the sources as from the bundles, which lie in dist/ themselves.
  const path = fileURLToPath(new URL(`../dist/${LICENSES_FILE}`, import.meta.url));
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new FairleadError('NOT_FOUND', `there is no ${path}: \`npm run build\` writes it`, { cause });
  }
}
