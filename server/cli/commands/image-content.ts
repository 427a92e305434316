/** `image pull|save|load`: images from a registry to a host, and as tars. */
import type { Command } from 'commander';
import { jsonLine, printable } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import { act, type Cli } from '../commander.ts';
import { usageError } from '../errors.ts';
import { write } from '../io.ts';
import { records } from '../ndjson.ts';
import { printJson } from '../output.ts';
import { type SaveOptions, saveTar, TAR, tarContent } from '../tars.ts';
import { readPassphrase } from './files.ts';

/** Time until Docker begins: a registry, or an image of many layers, may take its time. */
const BEGIN_MS = 660_000;

export function addImageContent(root: Command, cli: Cli): void {
  const image = root.commands.find((command) => command.name() === 'image');
  if (image === undefined) throw new Error('there is no command image to add to');
  addPull(image, cli);
  addSave(image, cli);
  addLoad(image, cli);
}

interface PullOptions {
  platform?: string;
  username?: string;
  passwordFile?: string;
}

/** What Docker says of a pull; the fields that are shown. */
interface Progress {
  status?: string;
  id?: string;
  progressDetail?: { current?: number };
}

function addPull(image: Command, cli: Cli): void {
  const pull = image
    .command('pull')
    .description('pull an image from its registry to a host')
    .argument('<host>')
    .argument('<image>', 'with a tag or a digest; latest unless given')
    .option('--platform <platform>', 'of several, that for linux/arm64, for example')
    .option('--username <name>', 'of the registry')
    .option('--password-file <file>', 'the password, or a token, of the registry');
  act<PullOptions, [string, string]>(pull, cli, async ({ api, io, options }, host, reference) => {
    const { platform } = options;
    const auth = await authOf(reference, options);
    const body = await api.stream(path`/api/v1/hosts/${host}/images/pull`, {
      ...{ method: 'POST', accept: 'application/x-ndjson', timeoutMs: BEGIN_MS },
      body: { reference, ...(platform === undefined ? {} : { platform }) },
      ...(auth === undefined ? {} : { headers: { 'x-registry-auth': auth } }),
    });
    for await (const record of records(body)) {
      const { status, id, progressDetail } = record as Progress;
      if (options.json) await write(io.stdout, jsonLine(record));
      // How far each layer is comes many times a second.
      else if (progressDetail?.current === undefined && status !== undefined) {
        await write(io.stdout, `${printable(id === undefined ? status : `${id}: ${status}`)}\n`);
      }
    }
  });
}

/** As Docker takes credentials. @throws CliError */
async function authOf(reference: string, { username, passwordFile }: PullOptions): Promise<string | undefined> {
  if ((username === undefined) !== (passwordFile === undefined)) {
    throw usageError('--username and --password-file belong together');
  }
  if (username === undefined || passwordFile === undefined) return undefined;
  const password = await readPassphrase(passwordFile, 'password');
  const [first = ''] = reference.split('/');
  const serveraddress =
    reference.includes('/') && /[.:]|^localhost$/.test(first) ? first : 'https://index.docker.io/v1/';
  return Buffer.from(JSON.stringify({ username, password, serveraddress })).toString('base64url');
}

function addSave(image: Command, cli: Cli): void {
  const save = image
    .command('save')
    .description('download images as one tar')
    .argument('<host>')
    .argument('<image...>')
    .option('-o, --out <file>', 'the file to write; standard output unless given')
    .option('--force', 'overwrite the file if it is there');
  act<SaveOptions, [string, string[]]>(save, cli, async ({ api, io, options }, host, [first = '', ...and]) => {
    const url = path`/api/v1/hosts/${host}/images/${first}/archive`;
    await saveTar(io, options, () => api.stream(url, { accept: TAR, query: { and }, timeoutMs: BEGIN_MS }));
  });
}

function addLoad(image: Command, cli: Cli): void {
  const load = image
    .command('load')
    .description('load the images of a tar')
    .argument('<host>')
    .argument('<file>', 'a tar, also a packed one; - for standard input');
  act<object, [string, string]>(load, cli, async ({ api, io, options }, host, file) => {
    const content = await tarContent(io, file);
    const { loaded } = await api.call<{ loaded: string[] }>('POST', path`/api/v1/hosts/${host}/images/load`, {
      content,
    });
    if (options.json) return await printJson(io, { loaded });
    await write(io.stdout, loaded.map((line) => `${printable(line)}\n`).join(''));
  });
}
