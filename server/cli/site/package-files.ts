/** The files of a package that run on one platform: no tests, documents, types and sources of what is compiled. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

const NOT_RUN = /^(?:node_modules|tests?|benchmarks?|docs?|examples?|\..*)$|\.(?:d\.[cm]?ts|map)$/;
/** Beside compiled parts for each platform: what these were compiled from, and what compiles them. */
const COMPILED_FROM = /^(?:src|deps|build|binding\.gyp)$/;
const COMPILED = 'prebuilds';

/** Paths in the folder `dir`, in a fixed order. @param platform by the name that prebuilt parts have: `linux-x64` */
export async function packageFiles(dir: string, platform: string): Promise<string[]> {
  const names = (await readdir(dir)).filter((name) => !NOT_RUN.test(name));
  const isCompiled = names.includes(COMPILED);
  const files: string[] = [];
  for (const name of names.sort()) {
    if (isCompiled && COMPILED_FROM.test(name)) continue;
    for (const path of await filesBelow(dir, name)) {
      const [top, part = ''] = path.split('/');
      if (top !== COMPILED || part.replace(/\.node$/, '') === platform) files.push(path);
    }
  }
  return files;
}

async function filesBelow(dir: string, path: string): Promise<string[]> {
  const entries = await readdir(join(dir, path), { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (entries === undefined) return [path];
  const names = entries.map(({ name }) => name).filter((name) => !NOT_RUN.test(name));
  const below = await Promise.all(names.sort().map((name) => filesBelow(dir, `${path}/${name}`)));
  return below.flat();
}
