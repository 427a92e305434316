/** `restore`: makes a data directory out of a backup, on this machine and without a server. */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import type { Restored } from '../../backup/restore.ts';
import type { Cli } from '../commander.ts';
import type { GlobalOptions } from '../connect.ts';
import { usageError } from '../errors.ts';
import { print } from '../output.ts';
import { readPassphrase } from '../passphrase-file.ts';

interface RestoreOptions extends GlobalOptions {
  dataDir?: string;
  passphraseFile?: string;
  revocations?: string;
  force?: boolean;
}

export function addRestore(root: Command, cli: Cli): void {
  const restore = root
    .command('restore')
    .description('make the data directory of a server out of a backup; on the machine that the server is to run on')
    .argument('<file>', 'the backup')
    .option('--data-dir <dir>', 'the data directory, made if it is not there (FAIRLEAD_DATA_DIR)')
    .option('--passphrase-file <file>', 'a file with the passphrase; - for standard input (FAIRLEAD_PASSPHRASE_FILE)')
    .option('--revocations <file>', 'the revoked.ndjson of the lost server: what was revoked since the backup stays so')
    .option('--force', 'put an installation that is in the directory aside');
  restore.action(async (file: string) => {
    const { io } = cli;
    const options = restore.optsWithGlobals<RestoreOptions>();
    const dataDir = options.dataDir ?? io.env['FAIRLEAD_DATA_DIR'];
    if (!dataDir) throw usageError('say which directory the server is to use with --data-dir DIR');
    const passphrase = await readPassphrase(options.passphraseFile, io);
    // Only here, since it brings the store's native code with it.
    const { restoreBackup } = await import('../../backup/restore.ts');
    const { revocations, force } = options;
    const restored = await restoreBackup({
      ...{ file, dataDir, passphrase, revocations, force, by: userName() },
      clock: { now: () => io.now() },
    });
    await print(io, options, restored, (done) => report(done, revocations !== undefined));
  });
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'unknown'; // a user without a name, as in some containers
  }
}

function report({ manifest, dataDir, aside, journaledRevocations }: Restored, hadJournal: boolean): string {
  const { createdAt, caSeal, installationId, caFingerprint } = manifest;
  const passphrase = caSeal === 'passphrase' ? ' and with --ca-passphrase-file' : '';
  const lines = [
    `Restored installation ${installationId} (CA ${caFingerprint}) as of ${createdAt} into ${dataDir}.`,
    ...(aside === undefined ? [] : [`What was there before is in ${aside}.`]),
    ...(journaledRevocations === 0 ? [] : [`Revocations taken over from journals: ${journaledRevocations}.`]),
    '',
    `1. Make sure that the old server does not run any more, then start the new one on ${dataDir},`,
    '   under the same --public-host, --api-listen and --agent-listen as the old one,',
    `   so that the agents find it${passphrase}. They come back by themselves.`,
    '2. API tokens work as they did. The file admin-token is not in a backup; if you have lost it,',
    '   start the server once with --reset-admin-token.',
    hadJournal
      ? `3. What was revoked after ${createdAt} is revoked as far as the journal tells.`
      : `3. What was revoked after ${createdAt} is not revoked any more: revoke it again.`,
  ];
  return lines.map((line) => `${printable(line)}\n`).join('');
}
