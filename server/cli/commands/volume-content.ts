/** `volume browse|export|import`: what is in a volume. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type { VolumeFile } from '../api-types.ts';
import { act, type Cli, wholeNumber } from '../commander.ts';
import { bytes } from '../format.ts';
import { write } from '../io.ts';
import { printJson } from '../output.ts';
import { type Column, table } from '../table.ts';
import { type SaveOptions, saveTar, TAR, tarContent } from '../tars.ts';

/** Time until the host begins: it makes a container to reach the volume. */
const BEGIN_MS = 120_000;

export function addVolumeContent(root: Command, cli: Cli): void {
  const volume =
    root.commands.find((command) => command.name() === 'volume') ??
    root.command('volume').description('look into volumes, copy them');
  addBrowse(volume, cli);
  addExport(volume, cli);
  addImport(volume, cli);
}

const LETTERS: Readonly<Record<string, string>> = {
  directory: 'd',
  symlink: 'l',
  link: 'h',
  fifo: 'p',
  'character-device': 'c',
  'block-device': 'b',
};

const COLUMNS: readonly Column<VolumeFile>[] = [
  ['MODE', ({ type, mode }) => `${LETTERS[type] ?? '-'}${permissions(mode)}`],
  ['OWNER', ({ uid, gid }) => `${uid}:${gid}`],
  ['SIZE', ({ size }) => bytes(size)],
  ['MODIFIED', ({ mtime }) => mtime.replace('T', ' ').slice(0, 19)],
  ['NAME', ({ name, linkTarget }) => (linkTarget === undefined ? name : `${name} -> ${linkTarget}`)],
];

/** As `ls` shows them. */
export function permissions(mode: number): string {
  const bits = ['r', 'w', 'x'];
  const letters = Array.from({ length: 9 }, (_, at) => ((mode >> (8 - at)) & 1 ? (bits[at % 3] ?? '-') : '-'));
  for (const [bit, at, letter] of [
    [0o4000, 2, 's'],
    [0o2000, 5, 's'],
    [0o1000, 8, 't'],
  ] as const) {
    if (mode & bit) letters[at] = letters[at] === 'x' ? letter : letter.toUpperCase();
  }
  return letters.join('');
}

function addBrowse(volume: Command, cli: Cli): void {
  const browse = volume
    .command('browse')
    .description('list a directory of a volume; a large volume takes a while, since Docker reads all that is below it')
    .argument('<host>')
    .argument('<volume>')
    .argument('[path]', "from the volume's root on")
    .option('--limit <count>', 'so many entries, 1 to 10000', wholeNumber(1, 10_000));
  act<{ limit?: number }, [string, string, string | undefined]>(
    browse,
    cli,
    async ({ api, io, options }, host, name, directory) => {
      const query = { path: directory, limit: options.limit };
      const url = path`/api/v1/hosts/${host}/volumes/${name}/files`;
      const found = await api.get<{ items: VolumeFile[]; truncated: boolean }>(url, { query, timeoutMs: BEGIN_MS });
      if (options.json) return await printJson(io, found);
      await write(io.stdout, table(found.items, COLUMNS));
      if (found.truncated) await write(io.stderr, 'fairlead: there is more; ask for more entries with --limit\n');
    },
  );
}

function addExport(volume: Command, cli: Cli): void {
  const command = volume
    .command('export')
    .description('download a volume as a tar')
    .argument('<host>')
    .argument('<volume>')
    .option('--path <path>', 'a file or directory in it only')
    .option('-o, --out <file>', 'the file to write; standard output unless given')
    .option('--force', 'overwrite the file if it is there');
  act<SaveOptions & { path?: string }, [string, string]>(command, cli, async ({ api, io, options }, host, name) => {
    const url = path`/api/v1/hosts/${host}/volumes/${name}/archive`;
    const query = { path: options.path };
    await saveTar(io, options, () => api.stream(url, { accept: TAR, query, timeoutMs: BEGIN_MS }));
  });
}

function addImport(volume: Command, cli: Cli): void {
  const command = volume
    .command('import')
    .description('unpack a tar in a volume, which is made if there is none; it adds to what is there')
    .argument('<host>')
    .argument('<volume>')
    .argument('<file>', 'a tar, also a packed one; - for standard input')
    .option('--path <path>', 'a directory in the volume to unpack it in');
  act<{ path?: string }, [string, string, string]>(command, cli, async ({ api, io, options }, host, name, file) => {
    const url = path`/api/v1/hosts/${host}/volumes/${name}/archive`;
    const content = await tarContent(io, file);
    const { created } = await api.call<{ created: boolean }>('PUT', url, { query: { path: options.path }, content });
    if (options.json) return await printJson(io, { created });
    await write(io.stdout, `${name}${created ? ' (new)' : ''}\n`);
  });
}
