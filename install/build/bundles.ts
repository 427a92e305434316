/** The programs as bundles in `dist/`: a few files each in place of a thousand, which start in half the time. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { OUTSIDE_BUNDLES, packagesOutside } from '../../server/cli/site/packages.ts';
import { LICENSES_FILE } from '../../shared/licenses.ts';
import { BUNDLING, ROOT } from './bundling.ts';
import { licenseTexts, packagesOf } from './licenses.ts';

const OUT_DIR = `${ROOT}dist`;

/** By the name that each has in `dist/`. */
const ENTRIES = {
  server: 'server/main.ts',
  agent: 'agent/main.ts',
  cli: 'server/cli/main.ts',
  'snapshot-worker': 'server/store/snapshot-worker.ts',
};

/**
 * Makes them, and the licences of what is in them. The packages that stay outside of them are looked for where they are
 * installed.
 */
export async function buildBundles(): Promise<void> {
  const { metafile, outputFiles } = await build({
    ...BUNDLING,
    write: false,
    metafile: true,
    entryPoints: ENTRIES,
    outdir: OUT_DIR,
    outExtension: { '.js': '.mjs' },
    splitting: true,
    target: 'node24',
    external: [...OUTSIDE_BUNDLES],
    // What is CommonJS among the dependencies asks for Node's own modules in its own way.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
  });
  const outside = (await packagesOutside(ROOT)).map(({ dir }) => dir);

  await mkdir(OUT_DIR, { recursive: true });
  // The parts before the programs that load them.
  for (const { path, contents } of outputFiles.toSorted((a, b) => Number(isEntry(a.path)) - Number(isEntry(b.path)))) {
    await put(path, contents, isEntry(path) ? 0o755 : 0o644);
  }
  const licenses = await licenseTexts([...packagesOf(metafile), ...outside]);
  await put(join(OUT_DIR, LICENSES_FILE), Buffer.from(licenses), 0o644);
  // Of builds before; the agents' executables beside them stay.
  const current = new Set(outputFiles.map(({ path }) => basename(path)));
  for (const name of await readdir(OUT_DIR)) {
    if (name.endsWith('.mjs') && !current.has(name)) await rm(join(OUT_DIR, name));
  }
}

function isEntry(path: string): boolean {
  return Object.hasOwn(ENTRIES, basename(path, '.mjs'));
}

/** Writes what differs from before, each file at once: programs may be started from it meanwhile. */
async function put(path: string, content: Uint8Array, mode: number): Promise<void> {
  const before = await readFile(path).catch(() => undefined);
  if (before?.equals(content)) return;
  const unfinished = `${path}.${process.pid}`;
  await writeFile(unfinished, content, { mode });
  await rename(unfinished, path);
}
