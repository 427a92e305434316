/** Where the executables of releases are: `<data-dir>/agent-releases/<sequence>/<os>/<arch>/`, each folder whole or not there. */
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncDirectory } from '../../shared/atomic-file.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';

const FOLDER = 'agent-releases';
const INCOMING = '.incoming-';
const NAME = 'fairlead-agent';
/** As `npm run build:agent` and `fairlead release sign` name them. */
export const EXECUTABLE = NAME;
export const COMPRESSED = `${NAME}.gz`;

type Platform = Pick<SignedRelease, 'sequence' | 'os' | 'arch'>;

export class ReleaseFolder {
  /** Absolute, as the data directory is. */
  readonly #root: string;

  constructor(dataDir: string) {
    this.#root = join(dataDir, FOLDER);
  }

  /** The folder of a release for one platform. */
  pathOf({ sequence, os, arch }: Platform): string {
    return join(this.#root, String(sequence), os, arch);
  }

  /** The folder of a release's platforms. */
  releasePath(sequence: number): string {
    return join(this.#root, String(sequence));
  }

  /** The size of the compressed executable; undefined if it is not there. */
  async compressedBytes(platform: Platform): Promise<number | undefined> {
    try {
      const found = await stat(join(this.pathOf(platform), COMPRESSED));
      return found.isFile() ? found.size : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** An empty folder for what comes in, on the same file system. The caller publishes or removes it. */
  async incoming(): Promise<string> {
    await mkdir(this.#root, { recursive: true, mode: 0o700 });
    return await mkdtemp(join(this.#root, INCOMING));
  }

  /** Makes what came in the release's own, with its signature and its sum beside it: all at once, and durably. */
  async publish(incoming: string, signed: SignedRelease): Promise<void> {
    await writeFile(join(incoming, `${NAME}.sig`), `${JSON.stringify(signed)}\n`);
    await writeFile(join(incoming, `${NAME}.sha256`), `${signed.sha256}  ${NAME}\n`);
    await syncDirectory(incoming);
    const folder = this.pathOf(signed);
    await mkdir(dirname(folder), { recursive: true, mode: 0o700 });
    await rm(folder, { recursive: true, force: true });
    await rename(incoming, folder);
    await syncDirectory(dirname(folder));
  }

  /** Removes what a release has. */
  async remove(sequence: number): Promise<void> {
    await rm(this.releasePath(sequence), { recursive: true, force: true });
  }

  /** Removes what broken uploads have left, and releases that are none of `known`. */
  async clean(known: ReadonlySet<number>): Promise<void> {
    for (const name of await this.#entries()) {
      const isLeft = name.startsWith(INCOMING) || (/^\d+$/.test(name) && !known.has(Number(name)));
      if (isLeft) await rm(join(this.#root, name), { recursive: true, force: true });
    }
  }

  async #entries(): Promise<string[]> {
    try {
      return await readdir(this.#root);
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
