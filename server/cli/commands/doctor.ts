/** `doctor`: what is well and what is not, between here and a server, of the server itself, or of a data directory. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type Check, formatChecks, verdict, worstOf } from '../../../shared/doctor/check.ts';
import type { Cli } from '../commander.ts';
import type { GlobalOptions } from '../connect.ts';
import { examineServer } from '../doctor/server-way.ts';
import type { CliIo } from '../io.ts';
import { print } from '../output.ts';

interface DoctorOptions extends GlobalOptions {
  dataDir?: string;
  caPassphraseFile?: string;
  apiListen: string;
  agentListen: string;
}

interface Report {
  readonly worst: Check['level'];
  /** Between here and there, or of the data directory. */
  readonly checks: readonly Check[];
  /** What the server says of itself and its hosts; null where it does not. */
  readonly server: object | null;
}

export function addDoctor(root: Command, cli: Cli): void {
  const doctor = root
    .command('doctor')
    .description(
      'look for what is wrong: the way to the server, the server, its hosts; or a server that does not start',
    )
    .option('--data-dir <dir>', 'look at this data directory on this machine instead, and write nothing')
    .option('--ca-passphrase-file <file>', 'with --data-dir: the passphrase of the CA, to try it')
    .option('--api-listen <host:port>', 'with --data-dir: where the API is to listen', '0.0.0.0:8440')
    .option('--agent-listen <host:port>', 'with --data-dir: where agents are to connect', '0.0.0.0:8443')
    .addHelpText('after', '\nThe exit code is 1 if a check fails; warnings leave it 0.');
  doctor.action(async () => {
    const options = doctor.optsWithGlobals<DoctorOptions>();
    const { io } = cli;
    const report = options.dataDir === undefined ? await ofServer(options, io) : await ofDirectory(options);
    if (report.worst === 'fail') cli.exitCode = 1;
    await print(io, options, report, toText);
  });
}

async function ofServer(options: DoctorOptions, io: CliIo): Promise<Report> {
  const { checks, diagnostics } = await examineServer(options, io);
  const worst = worstOf([...checks, ...(diagnostics?.checks ?? [])]);
  return { worst, checks, server: diagnostics ?? null };
}

async function ofDirectory({ dataDir = '', caPassphraseFile, apiListen, agentListen }: DoctorOptions): Promise<Report> {
  // Only here, since it brings the store's native code with it.
  const { examineDataDir } = await import('../../diagnostics/data-dir.ts');
  const checks = await examineDataDir({
    dataDir: resolve(dataDir),
    ...(caPassphraseFile === undefined ? {} : { caPassphraseFile }),
    listen: { '--api-listen': apiListen, '--agent-listen': agentListen },
  });
  return { worst: worstOf(checks), checks, server: null };
}

function toText({ checks, server }: Report): string {
  const all = [...checks, ...((server as { checks?: readonly Check[] } | null)?.checks ?? [])];
  return `${formatChecks(all)}\n${verdict(all)}`;
}
