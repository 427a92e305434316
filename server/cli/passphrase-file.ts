/** The passphrase of a backup, from a file or standard input: never from the command line, where others see it. */
import { createReadStream } from 'node:fs';
import { CliError, systemCode, usageError } from './errors.ts';
import type { CliIo } from './io.ts';

const MAX_BYTES = 4096;

/** Its first line, without the line break. @param file `-` for standard input @throws CliError */
export async function readPassphrase(file: string | undefined, io: CliIo): Promise<string> {
  const from = file ?? io.env['FAIRLEAD_PASSPHRASE_FILE'];
  if (!from) throw usageError('give the passphrase of the backup with --passphrase-file FILE, or - for standard input');
  if (from === '-' && io.stdin.isTTY) throw usageError('a passphrase typed here would be seen: pipe it in');
  const passphrase = (await readSmall(from, io)).replace(/\r?\n$/, '');
  if (passphrase === '') throw new CliError(`there is no passphrase in ${from === '-' ? 'standard input' : from}`);
  if (/[\r\n]/.test(passphrase)) throw new CliError('the passphrase must be one line');
  return passphrase;
}

async function readSmall(from: string, io: CliIo): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of (from === '-' ? io.stdin : createReadStream(from)) as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_BYTES) throw new CliError(`the passphrase is longer than ${MAX_BYTES} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`cannot read the passphrase file ${from} (${systemCode(error)})`, { cause: error });
  }
  return Buffer.concat(chunks).toString('utf8');
}
