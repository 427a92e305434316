/**
 * A program that makes a backup of a store, or restores one, and kills itself at the moment it was told:
 * `backup DIR snapshot|send`, or `restore DIR FILE STEP`, by the number of the step.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { restoreBackup } from '../../server/backup/restore.ts';
import { openStore } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { backupsOf, cheapKey, never, PASSPHRASE } from '../unit/server/backup/fixture.ts';

const [, , what, dataDir = '', ...rest] = process.argv;
const die = () => process.kill(process.pid, 'SIGKILL');

if (what === 'backup') await backup(rest[0] ?? '');
else await restore(rest[0] ?? '', Number(rest[1]));

async function backup(moment: string): Promise<void> {
  const store = await openStore({ dataDir, clock: systemClock });
  const look = () => {
    const copy = statSync(join(dataDir, 'backup.tmp', 'fairlead.db'), { throwIfNoEntry: false });
    if ((copy?.size ?? 0) > 1024 * 1024) die();
    setImmediate(look);
  };
  if (moment === 'snapshot') look();
  const { chunks } = await backupsOf({ store, clock: systemClock } as never).create(await cheapKey(), 'a', never);
  let sent = 0;
  for await (const _ of chunks) {
    sent += 1;
    if (sent === 3) die();
  }
}

async function restore(file: string, last: number): Promise<void> {
  let step = 0;
  const onStep = (name: string) => {
    process.stdout.write(`${name}\n`);
    step += 1;
    if (step === last) die();
  };
  const options = { file, passphrase: PASSPHRASE, dataDir, force: true, by: 'root', clock: systemClock, onStep };
  await restoreBackup(options);
  process.exit(0);
}
