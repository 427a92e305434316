/** The host's Compose: `docker compose`, or `docker-compose` where only that is installed. */
import { access, constants } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { FairleadError } from '../../shared/errors.ts';
import type { ChildSpec } from './child.ts';

export interface ComposeProgram {
  /** An absolute path. */
  readonly program: string;
  /** What comes before Compose's own arguments. */
  readonly args: readonly string[];
  readonly version: string;
  /** Compose 1 takes no stack without its file, and reads files of variables in a way of its own. */
  readonly isFirst: boolean;
}

/** Runs a program, and returns what it printed if it ended well. Rejects with the reason of its signal. */
type Ask = (spec: Pick<ChildSpec, 'program' | 'args'>) => Promise<string | undefined>;

const WAYS = [
  { name: 'docker', args: ['compose'], version: ['version', '--short'] },
  { name: 'docker-compose', args: [], version: ['version', '--short'] },
] as const;
const VERSION = /^v?(\d{1,4})\.(\d{1,4})[0-9A-Za-z.+-]{0,40}$/;
/** The first of Compose 1 that can be told to leave colours out by the same option as Compose 2. */
const OLDEST_MINOR_OF_1 = 28;

/**
 * Looks through `path`, the PATH of the agent.
 * @throws FairleadError UNSUPPORTED if there is none that can be used, which says what to do
 */
export async function findCompose(path: string, ask: Ask): Promise<ComposeProgram> {
  let tooOld: string | undefined;
  for (const { name, args, version } of WAYS) {
    const program = await inPath(name, path);
    if (program === undefined) continue;
    const said = await ask({ program, args: [...args, ...version] });
    const [found, major, minor] = VERSION.exec(said?.trim() ?? '') ?? [];
    if (found === undefined) continue;
    const isFirst = Number(major) < 2;
    if (isFirst && (Number(major) < 1 || Number(minor) < OLDEST_MINOR_OF_1)) tooOld = found;
    else return { program, args, version: found, isFirst };
  }
  const why = tooOld === undefined ? 'this host has no Compose' : `this host's Compose ${tooOld} is too old`;
  throw new FairleadError(
    'UNSUPPORTED',
    `${why}: install Docker Compose 2, so that "docker compose version" answers for the user of the agent, by its PATH`,
  );
}

async function inPath(name: string, path: string): Promise<string | undefined> {
  for (const directory of path.split(delimiter)) {
    // Where a relative one leads is the affair of whoever started the agent where.
    if (!isAbsolute(directory)) continue;
    const file = join(directory, name);
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return file;
  }
  return undefined;
}
