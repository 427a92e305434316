/** Executables of the agent for hosts, as the build writes them: `<folder>/<os>/<arch>/fairlead-agent` and what belongs to it. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FairleadError } from '../shared/errors.ts';
import { agentFoldersOfSite } from '../shared/site.ts';
import type { AgentFileName, AgentFilesService, AgentPlatform, OpenAgentFile } from './routes/deps/agent-files.ts';

/** In the data directory. */
const FOLDER = 'agent-files';
/** Where the build puts them: beside this folder, and beside the bundles. */
const BUILT = fileURLToPath(new URL('../dist/agent-files', import.meta.url));

/** Where executables are looked for, first to last. */
export function agentFolders({ dataDir, agentFiles }: { dataDir: string; agentFiles?: string }): string[] {
  return agentFiles === undefined ? [join(dataDir, FOLDER), BUILT, ...agentFoldersOfSite()] : [agentFiles];
}

export class AgentFiles implements AgentFilesService {
  readonly #folders: readonly string[];
  readonly #released: (platform: AgentPlatform) => string | undefined;

  /** @param released the folder of the release that comes before all those, if it has something for a platform */
  constructor(folders: readonly string[], released: (platform: AgentPlatform) => string | undefined = () => undefined) {
    this.#folders = folders;
    this.#released = released;
  }

  /** The first folder that has an executable for a platform has all that belongs to it. */
  async open(platform: AgentPlatform, name: AgentFileName): Promise<OpenAgentFile> {
    const released = this.#released(platform);
    const others = this.#folders.map((folder) => join(folder, platform.os, platform.arch));
    for (const dir of released === undefined ? others : [released, ...others]) {
      const executable = await openFile(join(dir, 'fairlead-agent'));
      if (executable === undefined) continue;
      if (name === 'fairlead-agent') return executable;
      await executable.handle.close();
      const found = await openFile(join(dir, name));
      if (found !== undefined) return found;
      break;
    }
    throw missing(platform, name);
  }
}

/** @returns undefined if there is no such file */
async function openFile(path: string): Promise<OpenAgentFile | undefined> {
  const handle = await openIfThere(path);
  if (handle === undefined) return undefined;
  try {
    const found = await handle.stat();
    if (found.isFile()) {
      const etag = `"${[found.ino, found.size, Math.trunc(found.mtimeMs)].map((part) => part.toString(36)).join('-')}"`;
      return { handle, bytes: found.size, etag };
    }
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  return undefined;
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    // Not waiting for the other end of what may be a pipe.
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function missing({ os, arch }: AgentPlatform, name: AgentFileName): FairleadError {
  return new FairleadError(
    'NOT_FOUND',
    `this server has no ${name} for ${os}/${arch}. Its administrator can make one by ` +
      `\`npm run build:agent -- --target ${os}-${arch}\` and have it served from a folder ${os}/${arch}/ in ` +
      '<data-dir>/agent-files, or in the folder that --agent-files names',
  );
}
