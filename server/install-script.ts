/** The script that installs the agent, `install/install.sh`, with what it must know of this server filled in. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isFairleadError } from '../shared/errors.ts';
import type { AgentFilesService, AgentPlatform } from './routes/deps/agent-files.ts';
import type { InstallScriptService } from './routes/deps/install-script.ts';
import { quoted, shellWord } from './shell-word.ts';

/** Beside this folder, and beside the bundles. */
const FOLDER = new URL('../install/', import.meta.url);
/** Where a script reads another file: whoever fetches it has that nowhere. */
const SOURCED = /^# shellcheck source=.*\n\. .*\/([a-z-]+\.sh)"$/gm;
const SETTINGS = /^# settings\n[\s\S]*?^# end of settings$/m;
/** For which the script knows executables. */
const PLATFORMS: readonly AgentPlatform[] = [
  { os: 'linux', arch: 'x64' },
  { os: 'linux', arch: 'arm64' },
];
const SHA256 = /^([0-9a-f]{64}) {2}fairlead-agent\n$/;
const MAX_SUM_BYTES = 200;

export interface InstallScriptDeps {
  readonly agentFiles: AgentFilesService;
  readonly urls: () => { apiUrl: string };
  /** The CA of the API's certificate in PEM; undefined: one that machines know by themselves. */
  readonly apiCa: () => string | undefined;
}

export class InstallScript implements InstallScriptService {
  readonly #deps: InstallScriptDeps;
  #template: string | undefined;

  constructor(deps: InstallScriptDeps) {
    this.#deps = deps;
  }

  async text(): Promise<string> {
    this.#template ??= await wholeScript('install.sh');
    const lines = [`SERVER=${quoted(this.#deps.urls().apiUrl)}`, `CA_PEM=${quoted(this.#deps.apiCa()?.trim() ?? '')}`];
    for (const platform of PLATFORMS) {
      lines.push(`SHA256_${platform.os}_${platform.arch}=${quoted((await this.#sumOf(platform)) ?? '')}`);
    }
    return this.#template.replace(SETTINGS, () => `# settings\n${lines.join('\n')}\n# end of settings`);
  }

  /**
   * Fetches the script, by whichever of curl and wget is there, and runs it only if it is the one that is served now. That
   * makes up for the connection, whose certificate the machine does not know yet. The token goes by stdin.
   */
  async command(token: string): Promise<string> {
    const sha256 = createHash('sha256')
      .update(await this.text())
      .digest('hex');
    const url = `${this.#deps.urls().apiUrl}/install.sh`;
    const word = shellWord(url);
    return (
      `(f=$(mktemp) && trap 'rm -f "$f"' EXIT && ` +
      `{ if command -v curl >/dev/null; then curl -fsSk -o "$f" ${word}; else wget -qO "$f" --no-check-certificate ${word}; fi || ` +
      `{ echo 'not fetched: this needs curl or GNU wget, and a way to ${url}' >&2; false; }; } && ` +
      `echo "${sha256}  $f" | sha256sum -c - && ` +
      `echo ${token} | $(command -v sudo) sh "$f" --token -)`
    );
  }

  /** The SHA-256 of the executable for a platform, as the build has written it; undefined if there is none. */
  async #sumOf(platform: AgentPlatform): Promise<string | undefined> {
    try {
      const { handle } = await this.#deps.agentFiles.open(platform, 'fairlead-agent.sha256');
      try {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_SUM_BYTES), 0, MAX_SUM_BYTES, 0);
        return SHA256.exec(buffer.toString('latin1', 0, bytesRead))?.[1];
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (isFairleadError(error, 'NOT_FOUND')) return undefined;
      throw error;
    }
  }
}

/** A script as one file, with all that it reads. */
export async function wholeScript(name: 'install.sh' | 'install-server.sh'): Promise<string> {
  return await withSourced(name);
}

async function withSourced(name: string): Promise<string> {
  const text = await readFile(new URL(name, FOLDER), 'utf8');
  const sourced = new Map<string, string>();
  for (const [, other = ''] of text.matchAll(SOURCED)) sourced.set(other, (await withSourced(other)).trimEnd());
  return text.replace(SOURCED, (_, other: string) => sourced.get(other) ?? '');
}
