/** `audit`: who did what, whether the log of it is whole, and all of it to take away. */
import { createReadStream } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Attesters, attestersFrom, attestersIn } from '../../../certs/attestation.ts';
import { rootsIn } from '../../../certs/trust.ts';
import type { ChainSummary } from '../../../shared/audit-chain.ts';
import { FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { ApiClient } from '../api-client.ts';
import type { AuditRow } from '../api-types.ts';
import { checkExport } from '../audit-check.ts';
import { type Cli, wholeNumber } from '../commander.ts';
import { type GlobalOptions, target } from '../connect.ts';
import { brokenOff, CliError, systemCode, usageError } from '../errors.ts';
import { type CliIo, write } from '../io.ts';
import { print, printRows } from '../output.ts';
import { instant } from '../time.ts';
import { pinOf } from '../trust.ts';

const AUDIT_ROWS = 50;
const MAX_CA_BYTES = 256 * 1024;
const FILTERS = ['actor', 'address', 'action', 'target', 'host', 'result', 'since', 'until'] as const;

interface Options extends GlobalOptions, Partial<Record<(typeof FILTERS)[number], string>> {
  limit?: number;
  verify?: boolean;
  file?: string;
  caFile?: string;
  expectHead?: string;
  export?: boolean;
  out?: string;
}

const EXPLANATION = `
--verify takes the whole log from the server and checks it here: every row against the one before it, and the signatures
of the CA over it. Keep the head that it prints; with --expect-head a log that was rewound later is found as well.
It needs no server for what --export has stored: fairlead audit --verify --file FILE --ca-file ca.pem`;

export function addAudit(root: Command, cli: Cli): void {
  const audit = root
    .command('audit')
    .description('print who did what, newest first; check or export the log of it')
    .option('--limit <count>', `at most so many entries (default: ${AUDIT_ROWS})`, wholeNumber(1))
    .option('--actor <name>', 'only what this token, host or enrollment did')
    .option('--address <address>', 'only what came from this network address')
    .option('--action <action>', 'only this action, or those that begin so: host.revoke, container.')
    .option('--target <target>', 'only what was done to this')
    .option('--host <host>', 'only what was done to this host')
    .addOption(new Option('--result <result>', 'only with this result').choices(['ok', 'refused', 'failed']))
    .option('--since <time>', 'only from this time on (RFC 3339 or Unix seconds), or this long ago (30m, 7d)')
    .option('--until <time>', 'only before this time, likewise')
    .option('--verify', 'check that nothing in the log was changed, removed or put in')
    .option('--file <file>', 'with --verify: check this export, without a server')
    .option('--ca-file <file>', 'with --verify: the CA of the installation, and those it had before')
    .option('--expect-head <hash>', 'with --verify: a row with this hash must be in the log', headHash)
    .option('--export', 'write the whole log as NDJSON, with what --verify needs')
    .option('--out <file>', 'with --export: into this file')
    .addHelpText('after', EXPLANATION);
  audit.action(async () => {
    const options = audit.optsWithGlobals<Options>();
    checkUsage(options);
    if (options.file !== undefined) return await verifyFile(cli.io, options, options.file);
    const found = await target(options, cli.io);
    const api = new ApiClient(found);
    try {
      if (options.verify) await verifyServer(api, cli.io, options, pinOf(found.token));
      else if (options.export) await exportTo(api, cli.io, options.out);
      else await list(api, cli.io, options);
    } finally {
      api.close();
    }
  });
}

function headHash(text: string): string {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
  throw new InvalidArgumentError('It must be the 64 hex digits that --verify has printed as head.');
}

function checkUsage(options: Options): void {
  const { verify, file, caFile, expectHead, out } = options;
  if (verify && options.export) throw usageError('--verify and --export are two commands: give one of them');
  const needs = (given: unknown, name: string, flag: string, isThere: unknown) => {
    if (given !== undefined && !isThere) throw usageError(`${name} needs ${flag}`);
  };
  needs(file, '--file', '--verify', verify);
  needs(caFile, '--ca-file', '--verify', verify);
  needs(expectHead, '--expect-head', '--verify', verify);
  needs(out, '--out', '--export', options.export);
  needs(file, '--file', '--ca-file: the CA has to come from elsewhere than the export', caFile);
  if (!verify && !options.export) return;
  const filter = [...FILTERS, 'limit' as const].find((name) => options[name] !== undefined);
  if (filter !== undefined) throw usageError(`--${filter} is for printing: a log is checked and exported as a whole`);
}

async function list(api: ApiClient, io: CliIo, options: Options): Promise<void> {
  const { since, until, actor, address, action, target: to, host, result, limit = AUDIT_ROWS } = options;
  const time = (text: string | undefined) => (text === undefined ? undefined : instant(text, io.now()));
  const query = { actor, address, action, target: to, host, result, since: time(since), until: time(until) };
  const rows = await api.list<AuditRow>('/api/v1/audit', { limit, query });
  await printRows(io, options, rows, [
    ['TIME', (row) => row.at],
    ['WHO', (row) => row.actor],
    ['FROM', (row) => row.address ?? undefined],
    ['ACTION', (row) => row.action],
    ['TARGET', (row) => row.target ?? undefined],
    ['RESULT', (row) => row.result],
    ['DETAIL', (row) => (row.detail === null ? undefined : JSON.stringify(row.detail))],
  ]);
}

/**
 * The CA that counts is the one that the API token names, or what a login has followed from there, or a file's: never just
 * one that the server shows.
 */
async function verifyServer(api: ApiClient, io: CliIo, options: Options, pin: string): Promise<void> {
  const bundle = await text(await api.stream('/ca.pem', { accept: '*/*' }));
  const pins = api.trust.kind === 'internal' ? rootsIn(api.trust.ca).map((root) => root.pin) : pin;
  const shown = attestersFrom(bundle, pins, io.now());
  const keys = new Map([...shown, ...(options.caFile === undefined ? [] : await caKeys(options.caFile))]);
  const body = await api.stream('/api/v1/audit/export', { accept: 'application/x-ndjson' });
  await report(io, options, await checkExport(body, { keys, expectHead: options.expectHead }));
}

async function verifyFile(io: CliIo, options: Options, file: string): Promise<void> {
  const keys = await caKeys(options.caFile ?? '');
  try {
    await report(io, options, await checkExport(createReadStream(file), { keys, expectHead: options.expectHead }));
  } catch (error) {
    if (error instanceof FairleadError || systemCode(error) === undefined) throw error;
    throw new CliError(`cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

async function caKeys(path: string): Promise<Attesters> {
  let pem: string;
  try {
    pem = await readFile(path, 'utf8');
  } catch (error) {
    throw new CliError(`cannot read the CA file: ${(error as Error).message}`, { cause: error });
  }
  try {
    return attestersIn(pem);
  } catch (error) {
    throw isFairleadError(error) ? new CliError(`${path}: ${error.message}`, { cause: error }) : error;
  }
}

async function text(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > MAX_CA_BYTES) throw new CliError('what the server sends as its CA is too large to be one');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function report(io: CliIo, options: Options, summary: ChainSummary): Promise<void> {
  await print(io, options, { ok: true, ...summary }, describe);
  for (const id of summary.reports) {
    await write(io.stderr, `fairlead: row ${id} says that the server found its log changed; its detail says how\n`);
  }
}

function describe({ rows, head, anchor, signed }: ChainSummary): string {
  const lines = [
    `The audit log is whole: ${rows} rows, signed up to row ${signed.id} on ${at(signed.at)} by ${signed.signer}.`,
  ];
  if (anchor !== undefined) lines.push(`Rows up to ${anchor.id} were dropped by age, as signed.`);
  if (head.id > signed.id) lines.push(`Rows ${signed.id + 1} to ${head.id} are not signed yet.`);
  return [...lines, `Head: ${head.hash} (row ${head.id})`, ''].join('\n');
}

function at(ms: number): string {
  return new Date(ms).toISOString();
}

async function exportTo(api: ApiClient, io: CliIo, out: string | undefined): Promise<void> {
  const body = await api.stream('/api/v1/audit/export', { accept: 'application/x-ndjson' });
  try {
    if (out === undefined) return await pipeline(body, io.stdout, { end: false });
    const file = await open(out, 'w', 0o600);
    try {
      await pipeline(body, file.createWriteStream({ flush: true }));
    } catch (error) {
      await rm(out, { force: true });
      throw error;
    }
  } catch (error) {
    throw brokenOff(error);
  }
  await write(
    io.stdout,
    `Exported the audit log to ${out}. Check it: fairlead audit --verify --file ${out} --ca-file ca.pem\n`,
  );
}
