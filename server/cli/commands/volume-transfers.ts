/** `volume copy` and `volume transfers`: a volume from one host to another. */
import { type Command, InvalidArgumentError } from 'commander';
import { FairleadError, fromWireError, isFairleadError } from '../../../shared/errors.ts';
import { printable } from '../../../shared/printable.ts';
import { type ApiClient, path } from '../api-client.ts';
import type { VolumeTransfer } from '../api-types.ts';
import { act, type Cli, wholeNumber } from '../commander.ts';
import type { GlobalOptions } from '../connect.ts';
import { bytes, relative, shortId } from '../format.ts';
import { type CliIo, write } from '../io.ts';
import { records } from '../ndjson.ts';
import { print, printJson, printRows } from '../output.ts';
import { type Column, facts } from '../table.ts';

const TRANSFERS = '/api/v1/volume-transfers';
/** Time for the server to end a running transfer. */
const CANCEL_MS = 120_000;

export function addVolumeTransfers(root: Command, cli: Cli): void {
  const volume =
    root.commands.find((command) => command.name() === 'volume') ??
    root.command('volume').description('look into volumes, copy them');
  addCopy(volume, cli);
  const transfers = volume.command('transfers').description('copies of volumes that go on, and those that have ended');
  addList(transfers, cli);
  addShow(transfers, cli);
  addCancel(transfers, cli);
}

/** HOST:VOLUME */
interface End {
  host: string;
  volume: string;
}

function end(text: string): End {
  const [host = '', volume = '', ...more] = text.split(':');
  if (host === '' || volume === '' || more.length > 0) throw new InvalidArgumentError('It must be HOST:VOLUME.');
  return { host, volume };
}

interface CopyOptions {
  replace?: boolean;
  force?: boolean;
  detach?: boolean;
}

function addCopy(volume: Command, cli: Cli): void {
  const copy = volume
    .command('copy')
    .description('copy a volume to another host, or to another name; goes on by itself after an interruption')
    .argument('<from>', 'HOST:VOLUME', end)
    .argument('<to>', 'HOST:VOLUME', end)
    .option('--replace', 'what is in the target already gives way, once all of the new is there')
    .option('--force', 'though containers use one of the volumes')
    .option('-d, --detach', 'do not wait for the end')
    .addHelpText('after', '\nCtrl-C leaves the copy going on: `fairlead volume transfers cancel ID` ends it.');
  act<CopyOptions, [End, End]>(copy, cli, async ({ api, io, options }, from, to) => {
    const { replace = false, force = false, detach = false } = options;
    const begun = await api.post<VolumeTransfer>(TRANSFERS, { from, to, replace, force });
    if (detach) return await print(io, options, begun, ({ id }) => `${id}\n`);
    const last = await follow(api, io, options, begun.id);
    if (options.json) await printJson(io, last);
    requireDone(last);
    if (!options.json) await write(io.stdout, `${ended(last)}\n`);
  });
}

/** Shows the transfer as it goes on, and returns how it ended. */
async function follow(api: ApiClient, io: CliIo, options: GlobalOptions, id: string): Promise<VolumeTransfer> {
  const isLine = io.stderr.isTTY === true && !options.json;
  const body = await api.stream(path`/api/v1/volume-transfers/${id}/progress`, { accept: 'application/x-ndjson' });
  let last: VolumeTransfer | undefined;
  let shown = '';
  try {
    for await (const record of records(body)) {
      last = record as VolumeTransfer;
      const text = printable(progress(last));
      // A line that is written over on a terminal; elsewhere only what is not about bytes is news.
      if (isLine) await write(io.stderr, `\r\u001b[K${text}`);
      else if (!options.json && news(last) !== shown) await write(io.stderr, `${text}\n`);
      shown = news(last);
    }
  } catch (error) {
    // Only the looking on has ended.
    if (!isFairleadError(error)) throw error;
    throw new FairleadError(error.code, `${error.message}; the copy goes on: ${howToSee(id)}`, { cause: error });
  }
  if (isLine) await write(io.stderr, '\r\u001b[K');
  if (last !== undefined && last.endedAt !== null) return last;
  const detail = `the answer ended before the copy, which goes on: ${howToSee(id)}`;
  throw new FairleadError('STREAM_INTERRUPTED', detail);
}

function howToSee(id: string): string {
  return `fairlead volume transfers show ${id}`;
}

function news({ state, step, note, error }: VolumeTransfer): string {
  return JSON.stringify([state, step, note, error]);
}

function progress({ state, step, bytes: done, totalBytes, bytesPerSecond, note, error }: VolumeTransfer): string {
  const share = totalBytes === null || totalBytes === 0 ? '' : ` of about ${bytes(totalBytes)}`;
  const rate = bytesPerSecond === null ? '' : `, ${bytes(bytesPerSecond)}/s`;
  const doing = step === 'apply' ? 'putting it in place' : state;
  const why = error === null ? '' : `: ${error.detail}`;
  return `${doing}: ${bytes(done)}${share}${rate}${note === null ? '' : ` (${note})`}${why}`;
}

function ended({ bytes: all, carriedBytes, resumes, to }: VolumeTransfer): string {
  const again = resumes === 0 ? '' : `, ${bytes(carriedBytes)} carried in ${resumes + 1} parts`;
  return `${to.host}:${to.volume} (${bytes(all)}${again})`;
}

/** @throws FairleadError when it has failed or was cancelled */
function requireDone({ state, error }: VolumeTransfer): void {
  if (state === 'done') return;
  if (error === null) throw new FairleadError('CANCELLED', 'the copy was cancelled');
  throw fromWireError({ code: error.code, message: error.detail });
}

const COLUMNS: readonly Column<VolumeTransfer>[] = [
  ['ID', ({ id }) => shortId(id)],
  ['FROM', ({ from }) => `${from.host}:${from.volume}`],
  ['TO', ({ to }) => `${to.host}:${to.volume}`],
  ['STATE', ({ state, step }) => (step === 'apply' ? 'applying' : state)],
  ['BYTES', ({ bytes: done }) => bytes(done)],
];

function addList(transfers: Command, cli: Cli): void {
  const ls = transfers
    .command('ls')
    .description('list them, newest first')
    .option('--limit <count>', 'so many', wholeNumber(1), 50);
  act<{ limit: number }>(ls, cli, async ({ api, io, options }) => {
    const found = await api.list<VolumeTransfer>(TRANSFERS, { limit: options.limit });
    const now = io.now();
    const begun: Column<VolumeTransfer> = ['BEGUN', ({ createdAt }) => relative(createdAt, now)];
    await printRows(io, options, found, [...COLUMNS, begun]);
  });
}

/** The transfer whose id begins with `prefix`. */
async function find(api: ApiClient, prefix: string): Promise<VolumeTransfer> {
  if (prefix.length === 36) return await api.get<VolumeTransfer>(path`/api/v1/volume-transfers/${prefix}`);
  const all = await api.list<VolumeTransfer>(TRANSFERS);
  const [found, ...others] = all.filter(({ id }) => id.startsWith(prefix));
  if (found !== undefined && others.length === 0) return found;
  const why = found === undefined ? 'there is no transfer' : 'several transfers have ids that begin with';
  throw new FairleadError('NOT_FOUND', `${why} ${prefix}`);
}

function addShow(transfers: Command, cli: Cli): void {
  const show = transfers.command('show').description('show one').argument('<id>', 'or its beginning');
  act<object, [string]>(show, cli, async ({ api, io, options }, prefix) => {
    const now = io.now();
    await print(io, options, await find(api, prefix), (one) =>
      facts([
        ['Id', one.id],
        ['From', `${one.from.host}:${one.from.volume}`],
        ['To', `${one.to.host}:${one.to.volume}`],
        ['State', one.step === 'apply' ? 'putting it in place' : one.state],
        ['Bytes', bytes(one.bytes)],
        ['Of about', one.totalBytes === null ? undefined : bytes(one.totalBytes)],
        ['Rate', one.bytesPerSecond === null ? undefined : `${bytes(one.bytesPerSecond)}/s`],
        ['Carried', `${bytes(one.carriedBytes)}, ${one.resumes} resumed, ${one.restarts} begun anew`],
        ['Note', one.note ?? undefined],
        ['Why', one.error === null ? undefined : `${one.error.detail} (${one.error.code})`],
        ['By', one.createdBy],
        ['Begun', relative(one.createdAt, now)],
        ['Ended', relative(one.endedAt, now)],
      ]),
    );
  });
}

function addCancel(transfers: Command, cli: Cli): void {
  const cancel = transfers
    .command('cancel')
    .description('cancel one that has not ended; the target is as it was')
    .argument('<id>', 'or its beginning');
  act<object, [string]>(cancel, cli, async ({ api, io }, prefix) => {
    const { id } = await find(api, prefix);
    await api.call('DELETE', path`/api/v1/volume-transfers/${id}`, { timeoutMs: CANCEL_MS });
    await write(io.stdout, `${id}\n`);
  });
}
