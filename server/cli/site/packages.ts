/** The packages that stay outside of the bundles, as they are installed beside these: with what they need in their turn. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FairleadError } from '../../../shared/errors.ts';

/** What has parts of its own beside it: what is native, and what starts workers. */
export const OUTSIDE_BUNDLES = ['better-sqlite3', 'bufferutil', 'pino', 'pino-pretty'] as const;
/** Made faster by it, and working without. */
const OPTIONAL: readonly string[] = ['bufferutil'];
/** Only what compiles better-sqlite3 needs it; its builds come with it. */
const NOT_RUN: readonly string[] = ['node-addon-api'];
/** More than there are, so that packages that need each other come to an end. */
const MAX_PACKAGES = 500;

export interface InstalledPackage {
  readonly name: string;
  /** Where it is installed. */
  readonly dir: string;
  /** Where it belongs in a tree of its own: `node_modules/pino`. */
  readonly path: string;
}

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
}

/**
 * The packages outside the bundles and all that they need, as Node finds them from `root`: in a tree in which it finds the
 * same again. @throws FairleadError NOT_FOUND if one is not installed
 */
export async function packagesOutside(root: string): Promise<InstalledPackage[]> {
  const placed = new Map<string, InstalledPackage>();
  const place = async (name: string, from: string, parent: string): Promise<void> => {
    const found = await find(name, from);
    if (found === undefined && OPTIONAL.includes(name)) return;
    if (found === undefined) {
      throw new FairleadError(
        'NOT_FOUND',
        `the package ${name} is not installed, which ${from} needs: run npm install`,
      );
    }
    // Beside all others, but for one of which another version is there already.
    const path = [`node_modules/${name}`, `${parent}node_modules/${name}`].find(
      (candidate) => (placed.get(candidate)?.dir ?? found.dir) === found.dir,
    );
    if (path === undefined || placed.size >= MAX_PACKAGES) {
      throw new FairleadError('INTERNAL', `there is no place for the package ${name} that ${from} needs`);
    }
    if (placed.has(path)) return;
    placed.set(path, { name, dir: found.dir, path });
    for (const needed of Object.keys(found.manifest.dependencies ?? {}).sort()) {
      if (!NOT_RUN.includes(needed)) await place(needed, found.dir, `${path}/`);
    }
  };
  for (const name of OUTSIDE_BUNDLES) await place(name, root, '');
  return [...placed.values()];
}

/** As Node looks for it: in the folder, then in those above. */
async function find(name: string, from: string): Promise<{ dir: string; manifest: Manifest } | undefined> {
  for (let folder = from; ; folder = dirname(folder)) {
    const dir = join(folder, 'node_modules', name);
    const text = await readFile(join(dir, 'package.json'), 'utf8').catch(() => undefined);
    if (text !== undefined) return { dir, manifest: JSON.parse(text) as Manifest };
    if (folder === dirname(folder)) return undefined;
  }
}
