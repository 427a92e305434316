/** `apitoken rotate`: a new token in place of an old one, printed or straight into a file. */
import { access, constants, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { writeFileAtomic } from '../../../shared/atomic-file.ts';
import { path } from '../api-client.ts';
import type { RotatedApiToken, Whoami } from '../api-types.ts';
import { act, type Cli, seconds } from '../commander.ts';
import { CliError } from '../errors.ts';
import { relative } from '../format.ts';
import { type CliIo, write } from '../io.ts';
import { print } from '../output.ts';
import { facts } from '../table.ts';

interface RotateOptions {
  overlap?: number;
  out?: string;
}

export function addRotate(token: Command, cli: Cli): void {
  const rotate = token
    .command('rotate')
    .description('make a token like an old one, and let the old one end')
    .argument('[id]', 'the old one (default: the token of this call)')
    .option('--overlap <duration>', 'how long the old one goes on: 10m, 1h, at most 7d (default: not at all)', seconds)
    .option('--out <file>', 'write the new token to this file, mode 0600, in place of printing it');
  act<RotateOptions, [string | undefined]>(rotate, cli, async ({ api, io, options }, given) => {
    const out = options.out === undefined ? undefined : resolve(options.out);
    if (out !== undefined) await requireWritable(out);
    const id = given ?? (await api.get<Whoami>('/api/v1/whoami')).tokenId;
    const body = options.overlap === undefined ? {} : { overlapSeconds: options.overlap };
    const made = await api.post<RotatedApiToken>(path`/api/v1/api-tokens/${id}/rotate`, body);
    if (out !== undefined) await writeToken(io, out, made);
    const { token, ...rest } = made;
    const shown = out === undefined ? made : { ...rest, out };
    await print(io, options, shown, () =>
      facts([
        ['Token', out ?? token],
        ['Id', made.id],
        ['Expires', made.expiresAt ?? 'never'],
        ['Old one ends', `${made.replacedEndsAt} (${relative(made.replacedEndsAt, io.now())})`],
      ]).concat(
        given === undefined && out === undefined ? '\nThe old one was your own: log in with the new one.\n' : '',
      ),
    );
  });
}

/** Looked at before anything is rotated. @throws CliError */
async function requireWritable(file: string): Promise<void> {
  try {
    await access(dirname(file), constants.W_OK);
    const found = await stat(file).catch(() => undefined);
    if (found !== undefined && !found.isFile()) throw new Error('it is no file');
  } catch (error) {
    throw new CliError(`cannot write ${file}: ${(error as Error).message}; nothing was rotated`, { cause: error });
  }
}

/** The new token must not get lost: one that cannot be written is printed. @throws CliError */
async function writeToken(io: CliIo, file: string, { token }: RotatedApiToken): Promise<void> {
  try {
    await writeFileAtomic(file, `${token}\n`, 0o600);
  } catch (error) {
    await write(io.stdout, `${token}\n`);
    const detail = `cannot write ${file}: ${(error as Error).message}; the token was rotated, the new one is printed`;
    throw new CliError(detail, { cause: error });
  }
}
