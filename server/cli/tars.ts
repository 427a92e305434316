/** Tars that a command downloads to a file or to standard output, or uploads from one. */
import { createReadStream } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { brokenOff, CliError, systemCode, usageError } from './errors.ts';
import { bytes } from './format.ts';
import { type CliIo, write } from './io.ts';
import { requireWritable, writeWhole } from './whole-file.ts';

/** The media type. */
export const TAR = 'application/x-tar';

export interface SaveOptions {
  /** Standard output unless given. */
  readonly out?: string;
  /** Whether the file is overwritten if it is there. */
  readonly force?: boolean;
}

/**
 * Writes a tar to where the options say. Nothing is asked for that could not be written.
 * @throws CliError
 */
export async function saveTar(
  io: CliIo,
  { out, force = false }: SaveOptions,
  ask: () => Promise<AsyncIterable<Uint8Array>>,
): Promise<void> {
  if (out === undefined && io.stdout.isTTY) throw usageError('a tar is nothing for a terminal: name a file with --out');
  if (out !== undefined) await requireWritable(out, force);
  const body = await ask();
  try {
    if (out === undefined) {
      for await (const chunk of body) await write(io.stdout, chunk);
    } else {
      const written = await writeWhole(out, body, { force, io, check: async () => undefined });
      await write(io.stderr, `${bytes(written.bytes)} in ${out}\n`);
    }
  } catch (error) {
    throw brokenOff(error);
  }
}

/** A tar as the content of a request, from a file or, as `-`, from standard input. @throws CliError if it cannot be read */
export async function tarContent(io: CliIo, file: string) {
  if (file === '-') return { type: TAR, bytes: io.stdin };
  try {
    await access(file, constants.R_OK);
  } catch (error) {
    throw new CliError(`cannot read ${file} (${systemCode(error)})`, { cause: error });
  }
  return { type: TAR, bytes: createReadStream(file) };
}
