/** What Docker says of long work, record by record: how far it is, and in the middle of a good answer that it failed. */
import { FairleadError } from '../errors.ts';
import { asObject, parseDockerJson } from './json.ts';

/** The largest record that is read. */
export const MAX_RECORD_BYTES = 64 * 1024;
const MAX_TEXT_CHARS = 900;
/** Docker has no status of its own for what a registry does not have. */
export const NOT_THERE = /not found|manifest unknown|does not exist|no such image/i;

/** The query of a pull. */
export function pullQuery(reference: string, platform: string | undefined): string {
  const query = { ...imageQuery(reference), ...(platform === undefined ? {} : { platform }) };
  return new URLSearchParams(query).toString();
}

/** Without a tag Docker would fetch all there are. */
function imageQuery(reference: string): { fromImage: string; tag?: string } {
  if (reference.includes('@') || /:[^/]*$/.test(reference)) return { fromImage: reference };
  return { fromImage: reference, tag: 'latest' };
}

/** The FairleadError for a record that says that the work has failed. */
export function failureIn({ error, errorDetail }: Readonly<Record<string, unknown>>): FairleadError | undefined {
  if (error === undefined && errorDetail === undefined) return undefined;
  const said = typeof error === 'string' ? error : JSON.stringify(errorDetail ?? error);
  const text = said.length > MAX_TEXT_CHARS ? `${said.slice(0, MAX_TEXT_CHARS)}…` : said;
  return new FairleadError('DOCKER_ERROR', text);
}

/** What Docker says of images that it has loaded, one record a line. @throws FairleadError for the one that says that it failed */
export function loadedIn(answer: string): string[] {
  const lines = answer.split('\n').filter((line) => line.trim() !== '');
  const words = lines.flatMap((line) => {
    const record = asObject(parseDockerJson(line));
    const failure = failureIn(record);
    if (failure !== undefined) throw failure;
    const { stream: said } = record;
    return typeof said === 'string' ? [said.trim()] : [];
  });
  // A body that is empty, or no tar at all, some Engines take without a word.
  if (words.length === 0) throw new FairleadError('VALIDATION', 'Docker found no image in the tar');
  return words;
}
