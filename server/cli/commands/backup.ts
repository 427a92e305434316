/** `backup`: the whole installation in one encrypted file, while the server runs; and the check of such a file. */
import type { Command } from 'commander';
import { deriveKey, newBackupKey } from '../../backup/header.ts';
import { readBackup, readManifestOf } from '../../backup/read.ts';
import type { Cli } from '../commander.ts';
import { connect, type GlobalOptions } from '../connect.ts';
import { brokenOff, usageError } from '../errors.ts';
import { bytes } from '../format.ts';
import type { CliIo } from '../io.ts';
import { print } from '../output.ts';
import { readPassphrase } from '../passphrase-file.ts';
import { facts } from '../table.ts';
import { requireWritable, writeWhole } from '../whole-file.ts';

/** Time until the snapshot of a large store is taken, and the answer begins. */
const SNAPSHOT_MS = 30 * 60_000;

interface BackupOptions extends GlobalOptions {
  out?: string;
  passphraseFile?: string;
  force?: boolean;
  /** A file to be checked; false: what was written is not. */
  verify?: string | false;
}

type Manifest = Awaited<ReturnType<typeof readBackup>>;

export function addBackup(root: Command, cli: Cli): void {
  const backup = root
    .command('backup')
    .description('write the whole installation into one encrypted file, while the server runs')
    .option('--out <file>', 'the file to write')
    .option('--passphrase-file <file>', 'a file with the passphrase; - for standard input (FAIRLEAD_PASSPHRASE_FILE)')
    .option('--force', 'overwrite the file if it is there')
    .option('--verify <file>', 'check a backup from its first byte to its last, without a server')
    .option('--no-verify', 'do not read back what was written')
    .addHelpText('after', '\nThe passphrase does not leave this machine. Nothing opens the file without it.');
  backup.action(async () => {
    const options = backup.optsWithGlobals<BackupOptions>();
    if (typeof options.verify === 'string') return await verify(options.verify, options, cli.io);
    await make(options, cli.io);
  });
}

async function make(options: BackupOptions, io: CliIo): Promise<void> {
  const { out, force = false } = options;
  if (out === undefined) throw usageError('say where the backup goes with --out FILE, or check one with --verify FILE');
  const passphrase = await readPassphrase(options.passphraseFile, io);
  await requireWritable(out, force);
  const api = await connect(options, io);
  try {
    const { recipe, key } = await newBackupKey(passphrase);
    const { salt, log2N, r, p } = recipe;
    const body = await api.stream('/api/v1/backup', {
      method: 'POST',
      accept: 'application/octet-stream',
      timeoutMs: SNAPSHOT_MS,
      body: { key: key.toString('base64'), salt: salt.toString('base64'), log2N, r, p },
    });
    const look = options.verify === false ? readManifestOf : readBackup;
    // By the passphrase again: what is checked is that it opens the file.
    const check = (file: string) => look(file, (found) => deriveKey(passphrase, found));
    const { checked, ...written } = await writeWhole(out, body, { force, io, check });
    await show(io, options, { file: out, ...written, verified: options.verify !== false, manifest: checked });
  } catch (error) {
    throw brokenOff(error);
  } finally {
    api.close();
  }
}

async function verify(file: string, options: BackupOptions, io: CliIo): Promise<void> {
  const passphrase = await readPassphrase(options.passphraseFile, io);
  const manifest = await readBackup(file, (recipe) => deriveKey(passphrase, recipe));
  await show(io, options, { file, verified: true, manifest });
}

interface Shown {
  readonly file: string;
  readonly bytes?: number;
  readonly sha256?: string;
  readonly verified: boolean;
  readonly manifest: Manifest;
}

async function show(io: CliIo, options: GlobalOptions, shown: Shown): Promise<void> {
  await print(io, options, shown, ({ file, sha256, verified, manifest, ...rest }) =>
    facts([
      ['File', file],
      ['Size', rest.bytes === undefined ? undefined : bytes(rest.bytes)],
      ['SHA-256', sha256],
      ['Snapshot of', manifest.createdAt],
      ['Installation', manifest.installationId],
      ['CA', manifest.caFingerprint],
      ["The CA's key", manifest.caSeal === 'passphrase' ? 'needs its passphrase, too' : 'is in it'],
      ['Made by', `${manifest.createdBy}, with version ${manifest.version}`],
      ['Verified', verified ? 'yes, to the last byte' : 'no'],
    ]),
  );
}
