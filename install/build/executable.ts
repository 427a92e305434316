/** One executable of fairlead-agent: its bundle inside a Node, by Node's own means (single executable applications). */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { build } from 'esbuild';
import { LICENSES_FILE } from '../../shared/licenses.ts';
import type { BuildFacts } from '../../shared/releases/release.ts';
import { VERSION } from '../../shared/version.ts';
import { BUNDLING, ROOT } from './bundling.ts';
import { licenseTexts, packagesOf } from './licenses.ts';
import { isHere, nodeBinary, type Target } from './node-binary.ts';
import { stripElf } from './strip-elf.ts';

const run = promisify(execFile);
/** Files of the agent as the server serves them, per system and architecture. */
const NAME = 'fairlead-agent';
const BUNDLE = 'agent.mjs';
const MAKE_MS = 120_000;
/** One more takes three times as long for half a percent. */
const GZIP_LEVEL = 6;

/**
 * The executable loads nothing from any folder: whoever may write beside it could else have code run by whoever starts it.
 * What packages ask for is in the bundle, or Node's own, or not there.
 */
const REQUIRE = `const require = (name) => {
  const found = process.getBuiltinModule(name);
  if (found === undefined) throw Object.assign(new Error('there is no ' + name), { code: 'MODULE_NOT_FOUND' });
  return found;
};`;

export interface Made {
  readonly target: Target;
  readonly file: string;
  readonly bytes: number;
  readonly gzipBytes: number;
  /** Of the executable, in hex. */
  readonly sha256: string;
}

/** What goes into an executable besides the sources. */
export interface BuildOptions {
  /** Another than package.json's: for tests of what two versions do with each other. */
  readonly version?: string;
  /** Public keys in PEM, one after the other, whose releases it takes. */
  readonly releaseKeys?: string;
  /** Of the release that it will be: it takes none up to it. */
  readonly sequence?: number;
}

/**
 * Makes `<outDir>/<os>/<arch>/fairlead-agent`, `.gz`, `.sha256` and `.json` for each target; a folder is replaced as a
 * whole.
 */
export async function buildExecutables(
  targets: readonly Target[],
  outDir: string,
  { gzipLevel = GZIP_LEVEL, ...options }: BuildOptions & { readonly gzipLevel?: number } = {},
): Promise<Made[]> {
  const made: Made[] = [];
  for (const target of targets) {
    const executable = await buildExecutable(target, options);
    made.push(await publish(executable, target, outDir, { ...options, gzipLevel }));
  }
  return made;
}

/** The bytes of the executable for `target`: the same each time. */
export async function buildExecutable(target: Target, options: BuildOptions = {}): Promise<Buffer> {
  const work = await mkdtemp(join(tmpdir(), 'fairlead-build-'));
  try {
    await bundleAgent(work, options);
    return await makeExecutable(work, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Writes the bundle and the licences of what is in it into the folder `work`. */
async function bundleAgent(work: string, options: BuildOptions): Promise<void> {
  const { version = VERSION, releaseKeys = '', sequence = 0 } = options;
  const { metafile } = await build({
    ...BUNDLING,
    entryPoints: ['install/entry/executable.ts'],
    outfile: join(work, BUNDLE),
    metafile: true,
    target: 'node26',
    // Names stay, for stacks in logs.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    external: ['bufferutil'],
    define: {
      FAIRLEAD_COMMIT: JSON.stringify(await commit()),
      FAIRLEAD_VERSION: JSON.stringify(version),
      FAIRLEAD_RELEASE_KEYS: JSON.stringify(releaseKeys),
      FAIRLEAD_RELEASE_SEQUENCE: JSON.stringify(sequence),
    },
    banner: { js: REQUIRE },
  });
  await writeFile(join(work, LICENSES_FILE), await licenseTexts(packagesOf(metafile)));
}

/** The commit of the checkout, with a mark if files differ from it; empty where there is no repository. */
async function commit(): Promise<string> {
  try {
    const { stdout: head } = await run('git', ['rev-parse', 'HEAD'], { cwd: ROOT });
    const { stdout: changes } = await run('git', ['status', '--porcelain', '--untracked-files=no'], { cwd: ROOT });
    return changes === '' ? head.trim() : `${head.trim()}-changed`;
  } catch {
    return ''; // an archive of the sources, or no git
  }
}

/** @param work a folder with the bundle */
async function makeExecutable(work: string, target: Target): Promise<Buffer> {
  await writeFile(join(work, 'node'), stripElf(await nodeBinary(target)), { mode: 0o755 });
  // Paths without a folder: they become part of the executable.
  const config = {
    main: BUNDLE,
    mainFormat: 'module',
    executable: 'node',
    output: NAME,
    disableExperimentalSEAWarning: true,
    // Another platform's V8 would not take it.
    useCodeCache: isHere(target),
    assets: { [LICENSES_FILE]: LICENSES_FILE },
    // Of Node's ways to native functions, which the agent uses for its memory.
    execArgv: ['--disable-warning=ExperimentalWarning'],
    // NODE_OPTIONS is for the programs of others.
    execArgvExtension: 'none',
  };
  await writeFile(join(work, 'config.json'), JSON.stringify(config));
  // The code cache has seeds of V8 in it; without options of the environment's it is the same each time.
  const args = ['--random-seed=1', '--build-sea', 'config.json'];
  await run(process.execPath, args, { cwd: work, env: {}, timeout: MAKE_MS });
  return await readFile(join(work, NAME));
}

interface Publishing extends BuildOptions {
  readonly gzipLevel: number;
}

async function publish(executable: Buffer, target: Target, outDir: string, how: Publishing): Promise<Made> {
  const [os = '', arch = ''] = target.split('-');
  const dir = join(outDir, os, arch);
  await mkdir(dirname(dir), { recursive: true });
  const unfinished = await mkdtemp(join(dirname(dir), '.unfinished-'));
  try {
    const sha256 = createHash('sha256').update(executable).digest('hex');
    const compressed = await promisify(gzip)(executable, { level: how.gzipLevel });
    const from = await commit();
    const facts: BuildFacts = {
      version: how.version ?? VERSION,
      ...(how.sequence !== undefined && { sequence: how.sequence }),
      ...(from !== '' && { commit: from }),
      os,
      arch,
      bytes: executable.length,
      sha256,
    };
    await writeFile(join(unfinished, NAME), executable, { mode: 0o755 });
    await writeFile(join(unfinished, `${NAME}.gz`), compressed);
    await writeFile(join(unfinished, `${NAME}.sha256`), `${sha256}  ${NAME}\n`);
    await writeFile(join(unfinished, `${NAME}.json`), `${JSON.stringify(facts, undefined, 2)}\n`);
    await chmod(unfinished, 0o755);
    await rm(dir, { recursive: true, force: true });
    await rename(unfinished, dir);
    return { target, file: join(dir, NAME), bytes: executable.length, gzipBytes: compressed.length, sha256 };
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}
