/** An answer that is a text, read whole. */
import { Gathered } from '../../shared/gathered.ts';
import { CliError } from './errors.ts';

const MAX_BYTES = 16 * 1024 * 1024;

/** @throws CliError if it is larger than 16 MiB */
export async function read(answer: AsyncIterable<Buffer>): Promise<string> {
  const gathered = new Gathered(MAX_BYTES);
  for await (const chunk of answer) {
    if (!gathered.add(chunk)) throw new CliError(`the server's answer is larger than ${MAX_BYTES} bytes`);
  }
  return gathered.bytes().toString('utf8');
}
