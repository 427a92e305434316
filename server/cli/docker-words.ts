/** What several commands take in the docker CLI's own words: filters, labels and options as KEY=VALUE. */
import { InvalidArgumentError } from 'commander';

/** A repeatable `KEY=VALUE` as an object; the last of a key counts. */
export function pairs(value: string, previous: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [key, ...rest] = value.split('=');
  if (!key) throw new InvalidArgumentError('It must be KEY=VALUE.');
  return { ...previous, [key]: rest.join('=') };
}

/** A repeatable `--filter NAME=VALUE`; all values of a name are kept. */
export function filter(value: string, previous: Readonly<Record<string, string[]>> = {}): Record<string, string[]> {
  const [name, ...rest] = value.split('=');
  if (!name || rest.length === 0) throw new InvalidArgumentError('It must be NAME=VALUE, such as label=env=prod.');
  return { ...previous, [name]: [...(previous[name] ?? []), rest.join('=')] };
}

/** How commands describe it. */
export const FILTER_FLAG = '--filter <name=value>';

/** Filters as a query of the API has them. */
export function filtersOf(filters: Readonly<Record<string, string[]>> | undefined): string | undefined {
  return filters === undefined ? undefined : JSON.stringify(filters);
}
