/** Puts journals of revocations together: each is lines of JSON that are only ever added, and a line counts once. */
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { FairleadError } from '../../shared/errors.ts';

/** Some hundred thousand revocations; they are held in memory while they are put together. */
const MAX_JOURNAL_BYTES = 128 * 1024 * 1024;

/**
 * Writes the lines of `journals` into the file `to`, which may be one of them: those of the first one, then those of each
 * other that were not there yet. A last line that a crash cut off is left out, as it never counted.
 * @returns how many lines came from others than the first
 * @throws FairleadError VALIDATION for a journal that is none
 */
export async function mergeJournals(to: string, [first, ...others]: readonly string[]): Promise<number> {
  if (first === undefined) return 0;
  const lines = new Set<string>();
  await addLines(lines, first);
  const own = lines.size;
  for (const other of others) await addLines(lines, other);
  const handle = await open(to, 'w', 0o600);
  try {
    await handle.writeFile([...lines].map((line) => `${line}\n`).join(''));
    await handle.sync();
  } finally {
    await handle.close();
  }
  return lines.size - own;
}

async function addLines(lines: Set<string>, file: string): Promise<void> {
  const { size } = await stat(file);
  if (size > MAX_JOURNAL_BYTES) throw invalid(file, `it is larger than ${MAX_JOURNAL_BYTES} bytes`);
  let number = 0;
  let wrong: number | undefined;
  for await (const line of linesOf(file)) {
    number += 1;
    if (wrong !== undefined) throw invalid(file, `line ${wrong} of it is no JSON`);
    if (line === '') continue;
    if (isJsonObject(line)) lines.add(line);
    else wrong = number;
  }
  if (wrong !== undefined && (await endsWithNewline(file, size))) throw invalid(file, `line ${wrong} of it is no JSON`);
}

/** By line feeds alone: node:readline takes other characters, which a reason may hold, for the end of a line as well. */
async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = '';
  for await (const text of createReadStream(file, 'utf8') as AsyncIterable<string>) {
    for (const [index, part] of text.split('\n').entries()) {
      if (index > 0) {
        yield rest.replace(/\r$/, '');
        rest = '';
      }
      rest += part;
    }
  }
  if (rest !== '') yield rest;
}

async function endsWithNewline(file: string, size: number): Promise<boolean> {
  const handle = await open(file, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
    return buffer.toString('latin1') === '\n';
  } finally {
    await handle.close();
  }
}

function isJsonObject(line: string): boolean {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null;
  } catch {
    return false;
  }
}

function invalid(file: string, why: string): FairleadError {
  return new FairleadError('VALIDATION', `${file} is no journal of revocations: ${why}`);
}
