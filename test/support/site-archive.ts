/** Unpacked archives of a site, as install-server.sh takes them, of this version and of others that never were. */
import { createHash } from 'node:crypto';
import { chmod, constants, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { siteFiles } from '../../server/cli/site/contents.ts';
import { formatSums, SUMS_FILE } from '../../server/cli/site/sums.ts';
import { VERSION } from '../../shared/version.ts';
import { ROOT } from './launcher.ts';

const { platform: os, arch } = process;
const NODE = 'server/bin/node';

export interface UnpackedSite {
  /** What the server says it is; this version's unless given. */
  readonly version?: string;
  /** A line of shell that the server runs in place of itself, but for `--version`; `$bin` is the folder of Node. */
  readonly instead?: string;
}

/** Makes the folder `dir`. The bundles must have been built. The agent in it is none that runs. */
export async function unpackedSite(dir: string, { version = VERSION, instead }: UnpackedSite = {}): Promise<void> {
  const agents = join(dir, '.agents');
  await mkdir(join(agents, os, arch), { recursive: true });
  await writeFile(join(agents, os, arch, 'fairlead-agent'), 'no agent\n');
  const facts = { version, os, arch, node: process.versions.node };
  for (const { path, source, executable } of await siteFiles({
    facts,
    installation: ROOT,
    node: process.execPath,
    agentFiles: agents,
  })) {
    const to = join(dir, path);
    await mkdir(dirname(to), { recursive: true });
    // Most of an archive is Node, which lies where it is on file systems that can have it there twice.
    if (path === NODE && typeof source === 'string') await copyFile(source, to, constants.COPYFILE_FICLONE);
    else await writeFile(to, altered(path, await contentOf(source), version, instead));
    await chmod(to, executable ? 0o755 : 0o644);
  }
  await sumUp(dir);
}

async function contentOf(source: string | Uint8Array): Promise<Buffer> {
  return typeof source === 'string' ? await readFile(source) : Buffer.from(source);
}

function altered(path: string, content: Buffer, version: string, instead: string | undefined): Buffer | string {
  if (path.startsWith('server/lib/dist/') && version !== VERSION) {
    return content.toString().replace(`version: "${VERSION}"`, `version: "${version}"`);
  }
  if (path !== 'server/bin/fairlead-server' || instead === undefined) return content;
  return content.toString().replace(/^exec/m, () => `[ "\${1-}" = --version ] || { ${instead}; }\nexec`);
}

/** Writes SHA256SUMS anew, over all that is there now. */
export async function sumUp(dir: string): Promise<void> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter(({ name, parentPath }) => name !== SUMS_FILE && !parentPath.includes('/.agents'));
  const sums = new Map<string, string>();
  for (const { parentPath, name } of files.filter((each) => each.isFile())) {
    const content = await readFile(join(parentPath, name));
    sums.set(relative(dir, join(parentPath, name)), createHash('sha256').update(content).digest('hex'));
  }
  await writeFile(join(dir, SUMS_FILE), formatSums(sums));
}
