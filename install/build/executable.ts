/** One executable of fairlead-agent: its bundle inside a Node, by Node's own means (single executable applications). */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { build } from 'esbuild';
import { BUNDLING, ROOT } from './bundling.ts';
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

/** Makes `<outDir>/<os>/<arch>/fairlead-agent`, `.gz` and `.sha256` for each target; a folder is replaced as a whole. */
export async function buildExecutables(
  targets: readonly Target[],
  outDir: string,
  { gzipLevel = GZIP_LEVEL } = {},
): Promise<Made[]> {
  const made: Made[] = [];
  for (const target of targets) made.push(await publish(await buildExecutable(target), target, outDir, gzipLevel));
  return made;
}

/** The bytes of the executable for `target`: the same each time. */
export async function buildExecutable(target: Target): Promise<Buffer> {
  const work = await mkdtemp(join(tmpdir(), 'fairlead-build-'));
  try {
    await bundleAgent(join(work, BUNDLE));
    return await makeExecutable(work, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function bundleAgent(outfile: string): Promise<void> {
  await build({
    ...BUNDLING,
    entryPoints: ['install/entry/executable.ts'],
    outfile,
    target: 'node26',
    // Names stay, for stacks in logs.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    external: ['bufferutil'],
    define: { FAIRLEAD_COMMIT: JSON.stringify(await commit()) },
    banner: { js: REQUIRE },
  });
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
    // NODE_OPTIONS is for the programs of others.
    execArgvExtension: 'none',
  };
  await writeFile(join(work, 'config.json'), JSON.stringify(config));
  // The code cache has seeds of V8 in it; without options of the environment's it is the same each time.
  const args = ['--random-seed=1', '--build-sea', 'config.json'];
  await run(process.execPath, args, { cwd: work, env: {}, timeout: MAKE_MS });
  return await readFile(join(work, NAME));
}

async function publish(executable: Buffer, target: Target, outDir: string, level: number): Promise<Made> {
  const dir = join(outDir, ...target.split('-'));
  await mkdir(dirname(dir), { recursive: true });
  const unfinished = await mkdtemp(join(dirname(dir), '.unfinished-'));
  try {
    const sha256 = createHash('sha256').update(executable).digest('hex');
    const compressed = await promisify(gzip)(executable, { level });
    await writeFile(join(unfinished, NAME), executable, { mode: 0o755 });
    await writeFile(join(unfinished, `${NAME}.gz`), compressed);
    await writeFile(join(unfinished, `${NAME}.sha256`), `${sha256}  ${NAME}\n`);
    await chmod(unfinished, 0o755);
    await rm(dir, { recursive: true, force: true });
    await rename(unfinished, dir);
    return { target, file: join(dir, NAME), bytes: executable.length, gzipBytes: compressed.length, sha256 };
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}
