/** `support-bundle`: how an installation is, without secrets, in one file for whoever helps. */
import type { Command } from 'commander';
import { type BundleFile, supportBundle } from '../../../shared/doctor/support-bundle.ts';
import { VERSION } from '../../../shared/version.ts';
import type { Cli } from '../commander.ts';
import { connect, type GlobalOptions } from '../connect.ts';
import { examineServer } from '../doctor/server-way.ts';
import { describeError, usageError } from '../errors.ts';
import type { CliIo } from '../io.ts';
import { print } from '../output.ts';
import { doctorFiles, serverFiles } from '../support/bundle-files.ts';
import { requireWritable, writeWhole } from '../whole-file.ts';

interface BundleOptions extends GlobalOptions {
  out?: string;
  force?: boolean;
}

export function addSupportBundle(root: Command, cli: Cli): void {
  const command = root
    .command('support-bundle')
    .description('write how the installation is into one file, without secrets, for whoever helps')
    .option('--out <file>', 'the .tar.gz to write')
    .option('--force', 'overwrite the file if it is there')
    .addHelpText(
      'after',
      '\nIts README.txt says what is in it. Of a server that cannot be reached it has what the doctor says.',
    );
  command.action(async () => {
    const options = command.optsWithGlobals<BundleOptions>();
    const { io } = cli;
    const { out, force = false } = options;
    if (out === undefined) throw usageError('say where the bundle goes with --out FILE.tar.gz');
    await requireWritable(out, force);
    const files = await gather(options, io);
    const bundle = supportBundle(`fairlead ${VERSION}`, files, io.now());
    const check = async () => undefined;
    const { bytes, sha256 } = await writeWhole(out, chunksOf(bundle), { force, io, check });
    const names = files.map(({ name }) => name);
    await print(io, options, { file: out, bytes, sha256, files: names }, () => {
      return `Wrote ${out} (${bytes} bytes): ${names.join(', ')}.\nLook through it before you pass it on.\n`;
    });
  });
}

async function gather(options: BundleOptions, io: CliIo): Promise<BundleFile[]> {
  const { checks, diagnostics } = await examineServer(options, io);
  const files = doctorFiles(checks, diagnostics ?? null);
  // What stops the doctor on its way would stop each of the rest as well.
  if (checks.some(({ id, level }) => id.startsWith('api.') && level === 'fail')) return files;
  try {
    const api = await connect(options, io);
    try {
      return [...files, ...(await serverFiles(api))];
    } finally {
      api.close();
    }
  } catch (error) {
    return [...files, { name: 'errors.txt', about: 'what kept the rest out', text: `${describeError(error)}\n` }];
  }
}

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
