/**
 * The agent as executables, for all test files of a run: each is made once for one state of the sources, by whichever file
 * asks first, and kept until the sources change.
 */
import { execFile } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { cp, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildExecutables } from '../../install/build/executable.ts';
import type { BuildFacts } from '../../shared/releases/release.ts';
import { ROOT } from './launcher.ts';
import { waitFor } from './wait.ts';

const run = promisify(execFile);
const CACHE = join(ROOT, 'node_modules/.cache/agent-builds');
const TARGET = `${process.platform}-${process.arch}` as 'linux-x64';
/** Of what an executable is made. */
const SOURCES = ['agent', 'shared', 'certs', 'install', 'package.json', 'package-lock.json'];
const MAKE_MS = 180_000;
/** Others' states of the sources go after that. */
const KEPT_MS = 10 * 60_000;
/** Above any that package.json has. */
const NEXT = '99.0.0';

/** One executable, with what a build leaves beside it. */
export interface AgentBuild {
  /** With a folder for the system, and in it one for the architecture. */
  readonly root: string;
  readonly file: string;
  readonly facts: BuildFacts;
}

/** As it is built of the sources, without keys. */
export async function plainBuild(): Promise<AgentBuild> {
  return await buildOf('plain', {});
}

/** As it is built of the sources, with the key in `releaseKeyFile` in itself. */
export async function keyedBuild(): Promise<AgentBuild> {
  return await buildOf('keyed', { releaseKeys: await releaseKeys() });
}

/** A later version, which has the key in `releaseKeyFile` in itself. */
export async function nextBuild(): Promise<AgentBuild> {
  return await buildOf('next', { version: NEXT, releaseKeys: await releaseKeys() });
}

async function releaseKeys(): Promise<string> {
  return await readFile(`${await releaseKeyFile()}.pub`, 'utf8');
}

/** The private key that releases are signed by here; the public one is beside it, as `.pub`. */
export async function releaseKeyFile(): Promise<string> {
  const dir = await cached('key', async (unfinished) => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    await writeFile(join(unfinished, 'release.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), {
      mode: 0o600,
    });
    await writeFile(join(unfinished, 'release.pem.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  });
  return join(dir, 'release.pem');
}

/** A copy that a test may change. @returns the executable in it */
export async function copyBuild({ root }: AgentBuild, to: string): Promise<string> {
  await cp(root, to, { recursive: true });
  return join(to, process.platform, process.arch, 'fairlead-agent');
}

async function buildOf(name: string, options: { version?: string; releaseKeys?: string }): Promise<AgentBuild> {
  // Hardly made small, which nothing depends on and which takes longest.
  const root = await cached(name, async (unfinished) => {
    await buildExecutables([TARGET], unfinished, { gzipLevel: 1, ...options });
  });
  const file = join(root, process.platform, process.arch, 'fairlead-agent');
  return { root, file, facts: JSON.parse(await readFile(`${file}.json`, 'utf8')) };
}

/** The folder of that name for the sources as they are, which `make` fills if it is not there. */
async function cached(name: string, make: (unfinished: string) => Promise<void>): Promise<string> {
  const state = join(CACHE, await digest());
  const dir = join(state, name);
  await mkdir(state, { recursive: true });
  const isThere = async () => (await stat(dir).catch(() => undefined)) !== undefined;
  for (;;) {
    if (await isThere()) return dir;
    const release = await lock(`${dir}.lock`);
    if (release === undefined) {
      const isOver = async () => (await isThere()) || !(await isHeld(`${dir}.lock`));
      await waitFor(`the build of ${name} by another test file`, isOver, { timeoutMs: MAKE_MS, everyMs: 100 });
      continue;
    }
    const unfinished = await mkdtemp(`${dir}.`);
    try {
      if (await isThere()) return dir;
      await removeOthers(state);
      await make(unfinished);
      await rename(unfinished, dir);
      return dir;
    } finally {
      await rm(unfinished, { recursive: true, force: true });
      await release();
    }
  }
}

/** @returns what lets go of it, or undefined if another process holds it */
async function lock(path: string): Promise<(() => Promise<void>) | undefined> {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(String(process.pid));
    await file.close();
    return () => rm(path, { force: true });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return undefined;
    throw error;
  }
}

/** Whether the process that holds it lives; the lock of one that does not is removed. */
async function isHeld(path: string): Promise<boolean> {
  const pid = await readFile(path, 'utf8').catch(() => '');
  if (pid === '') return (await stat(path).catch(() => undefined)) !== undefined;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch {
    await rm(path, { force: true }); // it was killed as it built
    return false;
  }
}

/** What executables of other states of the sources take is much. */
async function removeOthers(state: string): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const other = join(CACHE, name);
    const since = (await stat(other).catch(() => undefined))?.mtimeMs ?? Date.now();
    if (other !== state && Date.now() - since > KEPT_MS) await rm(other, { recursive: true, force: true });
  }
}

/** Of the sources, and of the commit, whose name is in each executable. */
async function digest(): Promise<string> {
  const options = { cwd: ROOT, maxBuffer: 16 * 1024 * 1024 };
  const { stdout: list } = await run('git', ['ls-files', '--', ...SOURCES], options);
  const { stdout: head } = await run('git', ['rev-parse', 'HEAD'], options);
  const { stdout: changes } = await run('git', ['status', '--porcelain', '--untracked-files=no'], options);
  const hash = createHash('sha256').update(`${head}${changes === '' ? '' : 'changed'}`);
  for (const name of list
    .split('\n')
    .filter((each) => each !== '')
    .sort()) {
    const text = await readFile(join(ROOT, name)).catch(() => '');
    hash.update(`${name}\0`).update(text);
  }
  return hash.digest('hex').slice(0, 16);
}
