/** `image`: the images of a host. */
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import { act, type Cli } from '../commander.ts';
import {
  type ImageSummary,
  imageColumns,
  namedImages,
  type RemovedImage,
  removedLines,
  splitName,
} from '../docker-objects.ts';
import { FILTER_FLAG, filter, filtersOf } from '../docker-words.ts';
import { forEach } from '../each.ts';
import { usageError } from '../errors.ts';
import { write } from '../io.ts';
import { printJson, printRows } from '../output.ts';
import { addPrune } from './prune.ts';

/** A little longer than the server gives a host for it. */
const REMOVE_MS = 160_000;

export function addImage(root: Command, cli: Cli): void {
  const image = root.command('image').description('the images of a host');
  addReads(image, cli);
  addRemove(image, cli);
  addTag(image, cli);
  addPrune<{ ImagesDeleted: RemovedImage[]; SpaceReclaimed: number }, { all?: boolean }>(image, cli, {
    family: 'images',
    what: ({ all }) => (all ? 'all images that no container uses' : 'all images without a name'),
    query: ({ all }) => ({ dangling: all ? 0 : undefined }),
    lines: (reply) => removedLines(reply.ImagesDeleted),
    freed: (reply) => reply.SpaceReclaimed,
  }).option('-a, --all', 'all that no container uses, not only those without a name');
}

interface ListOptions {
  all?: boolean;
  filter?: Record<string, string[]>;
}

function addReads(image: Command, cli: Cli): void {
  const ls = image
    .command('ls')
    .description('list images')
    .argument('<host>')
    .option('-a, --all', 'intermediate layers, too')
    .option(FILTER_FLAG, 'only those that Docker finds by this; may repeat', filter);
  act<ListOptions, [string]>(ls, cli, async ({ api, io, options }, host) => {
    const query = { all: options.all ? 1 : undefined, filters: filtersOf(options.filter) };
    const images = await api.list<ImageSummary>(path`/api/v1/hosts/${host}/images`, { query });
    if (options.json) return await printJson(io, images);
    await printRows(io, options, namedImages(images), imageColumns(io.now()));
  });

  const inspect = image
    .command('inspect')
    .description('print all that Docker knows of an image, as JSON')
    .argument('<host>')
    .argument('<image>');
  act<object, [string, string]>(inspect, cli, async ({ api, io }, host, name) => {
    await printJson(io, await api.get<unknown>(path`/api/v1/hosts/${host}/images/${name}`));
  });
}

function addRemove(image: Command, cli: Cli): void {
  const rm = image
    .command('rm')
    .description('remove names of images, and images with their last name')
    .argument('<host>')
    .argument('<images...>')
    .option('-f, --force', 'those with several names, or with stopped containers, too')
    .option('--no-prune', 'keep parents without a name');
  act<{ force?: boolean; prune: boolean }, [string, string[]]>(rm, cli, async ({ api, io, options }, host, images) => {
    const query = { force: options.force ? 1 : undefined, noprune: options.prune ? undefined : 1 };
    await forEach(cli, images, async (name) => {
      const removed = await api.change<RemovedImage[]>('DELETE', path`/api/v1/hosts/${host}/images/${name}`, {
        query,
        timeoutMs: REMOVE_MS,
      });
      for (const line of removedLines(removed)) await write(io.stdout, `${printable(line)}\n`);
    });
  });
}

function addTag(image: Command, cli: Cli): void {
  const tag = image
    .command('tag')
    .description('give an image one more name')
    .argument('<host>')
    .argument('<image>')
    .argument('<name>', 'REPOSITORY[:TAG]');
  act<object, [string, string, string]>(tag, cli, async ({ api, io }, host, source, name) => {
    if (name.includes('@')) throw usageError('the new name has no digest: write REPOSITORY[:TAG]');
    const { repository: repo, tag } = splitName(name);
    const body = { repo, ...(tag === '' ? {} : { tag }) };
    await api.change('POST', path`/api/v1/hosts/${host}/images/${source}/tag`, { body });
    await write(io.stdout, `${name}\n`);
  });
}
