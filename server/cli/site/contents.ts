/** What a site archive holds, and where each part of it is on this machine. */
import { glob, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FairleadError } from '../../../shared/errors.ts';
import { LICENSES_FILE } from '../../../shared/licenses.ts';
import { SITE_FILE, type SiteFacts } from '../../../shared/site.ts';
import { CliError } from '../errors.ts';
import { packageFiles } from './package-files.ts';
import { packagesOutside } from './packages.ts';

/** One file of an archive. */
export interface SiteFile {
  /** In the archive's folder. */
  readonly path: string;
  /** Where it is here, or what is in it. */
  readonly source: string | Uint8Array;
  readonly executable: boolean;
}

export interface SiteParts {
  readonly facts: SiteFacts;
  /** The folder of a checkout with `dist/`, of the npm package, or of an installation from an archive. */
  readonly installation: string;
  /** Node for the platform that `facts` names: a path, or its bytes. */
  readonly node: string | Uint8Array;
  /** A folder with executables of the agent: `<os>/<arch>/fairlead-agent` and what belongs to it. */
  readonly agentFiles: string;
}

/** What lies in the archive's folder itself, besides in the server's: by their paths in an installation. */
const AT_THE_TOP: Readonly<Record<string, string>> = {
  'install/site/README.md': 'README.md',
  'install/site/fairlead-server': 'server/bin/fairlead-server',
  'install/site/fairlead': 'server/bin/fairlead',
  [`dist/${LICENSES_FILE}`]: LICENSES_FILE,
};
const SCRIPT = /^install\/([^/]+\.sh)$/;
/** npm puts these into a package by itself. */
const ALWAYS = ['package.json', 'README.md', 'LICENSE'];
const EXECUTABLE = 'fairlead-agent';
const OF_AGENTS = new Set(['', '.gz', '.sha256', '.json', '.sig'].map((ending) => EXECUTABLE + ending));

/** All files of an archive. @throws CliError, FairleadError NOT_FOUND for what is not there */
export async function siteFiles(parts: SiteParts): Promise<SiteFile[]> {
  const files = [
    ...(await programFiles(parts)),
    ...(await nodeModules(parts)),
    ...(await agentFiles(parts.agentFiles)),
  ];
  files.push({ path: 'server/bin/node', source: parts.node, executable: true });
  const facts = `${JSON.stringify(parts.facts, undefined, 2)}\n`;
  files.push({ path: `server/lib/${SITE_FILE}`, source: Buffer.from(facts), executable: false });
  return files;
}

/** What the npm package has, and the parts of it that have another place in an archive. */
async function programFiles({ installation }: SiteParts): Promise<SiteFile[]> {
  const manifest = JSON.parse(await readFile(join(installation, 'package.json'), 'utf8')) as { files: string[] };
  const found = new Set(ALWAYS);
  for await (const path of glob(manifest.files, { cwd: installation })) found.add(path);
  const files: SiteFile[] = [];
  for (const path of [...found].sort()) {
    const source = join(installation, path);
    const executable = await isExecutable(source);
    files.push({ path: `server/lib/${path}`, source, executable });
    const top = AT_THE_TOP[path] ?? SCRIPT.exec(path)?.[1];
    if (top !== undefined) files.push({ path: top, source, executable: /(?:\.sh$|\/bin\/)/.test(top) });
  }
  const paths = new Set(files.map(({ path }) => path));
  for (const path of ['server/lib/dist/server.mjs', 'install.sh', ...Object.values(AT_THE_TOP)]) {
    if (!paths.has(path)) throw notBuilt(installation, path);
  }
  return files;
}

function notBuilt(installation: string, path: string): CliError {
  return new CliError(
    `${installation} has nothing that makes ${path} of an archive: in a checkout, npm run build comes first`,
  );
}

async function nodeModules({ installation, facts }: SiteParts): Promise<SiteFile[]> {
  const platform = `${facts.os}-${facts.arch}`;
  const files: SiteFile[] = [];
  for (const { dir, path } of await packagesOutside(installation)) {
    for (const file of await packageFiles(dir, platform)) {
      const source = join(dir, file);
      files.push({ path: `server/lib/${path}/${file}`, source, executable: false });
    }
  }
  if (!files.some(({ path }) => path.endsWith(`better-sqlite3/prebuilds/${platform}.node`))) {
    throw new FairleadError('NOT_FOUND', `the installed package better-sqlite3 has nothing compiled for ${platform}`);
  }
  return files;
}

async function agentFiles(folder: string): Promise<SiteFile[]> {
  const files: SiteFile[] = [];
  for (const os of await readdir(folder)) {
    for (const arch of await readdir(join(folder, os)).catch(() => [])) {
      const dir = join(folder, os, arch);
      const names = (await readdir(dir).catch(() => [])).filter((name) => OF_AGENTS.has(name));
      if (!names.includes(EXECUTABLE)) continue;
      for (const name of names) {
        const path = `agent-files/${os}/${arch}/${name}`;
        files.push({ path, source: join(dir, name), executable: name === EXECUTABLE });
      }
    }
  }
  if (files.length > 0) return files;
  throw new CliError(`${folder} has no executables of the agent: there is no <os>/<arch>/${EXECUTABLE} in it`);
}

async function isExecutable(path: string): Promise<boolean> {
  return ((await stat(path)).mode & 0o111) !== 0;
}
