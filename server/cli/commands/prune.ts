/** `prune`, which each family of objects has: asks, removes what is not used, and tells what that was. */
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { path, type Query } from '../api-client.ts';
import { act, type Cli } from '../commander.ts';
import { confirm } from '../confirm.ts';
import { FILTER_FLAG, filter, filtersOf } from '../docker-words.ts';
import { bytes } from '../format.ts';
import { print } from '../output.ts';

/** A little longer than the server gives a host for it. */
const PRUNE_MS = 660_000;

interface PruneOptions {
  filter?: Record<string, string[]>;
  force?: boolean;
}

export interface Prune<R, O> {
  /** The family in the API's paths. */
  readonly family: 'containers' | 'images' | 'networks' | 'volumes';
  /** What is going to be removed. */
  readonly what: (options: O) => string;
  readonly query?: (options: O) => Query;
  /** A line for each thing that was removed. */
  readonly lines: (reply: R) => readonly string[];
  /** How much that freed on the disk, where Docker tells. */
  readonly freed?: (reply: R) => number;
}

/** Adds `prune` to a family's command; the caller may add options. */
export function addPrune<R extends object, O extends object = object>(
  family: Command,
  cli: Cli,
  { family: name, what, query = () => ({}), lines, freed }: Prune<R, O>,
): Command {
  const prune = family
    .command('prune')
    .description(`remove all ${name} that are not used`)
    .argument('<host>')
    .option(FILTER_FLAG, 'only those that Docker finds by this; may repeat', filter)
    .option('-f, --force', 'do not ask');
  act<PruneOptions & O, [string]>(prune, cli, async ({ api, io, options }, host) => {
    await confirm(io, `This removes ${what(options)} on ${host}${only(options.filter)}.`, options.force, '--force');
    const reply = await api.change<R>('POST', `${path`/api/v1/hosts/${host}`}/${name}/prune`, {
      query: { ...query(options), filters: filtersOf(options.filter) },
      timeoutMs: PRUNE_MS,
    });
    await print(io, options, reply, (value) => {
      const total = freed === undefined ? [] : [`Total reclaimed space: ${bytes(freed(value))}`];
      return [...lines(value), ...total].map((line) => `${printable(line)}\n`).join('');
    });
  });
  return prune;
}

function only(filters: Record<string, string[]> = {}): string {
  const texts = Object.entries(filters).flatMap(([name, values]) => values.map((value) => `${name}=${value}`));
  return texts.length === 0 ? '' : `, if ${texts.join(' and ')} lets them through`;
}
