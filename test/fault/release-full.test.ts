/** A disk that has no room for a release: it is refused before it is written, and nothing of it stays. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { Audit } from '../../server/audit/audit.ts';
import { Releases } from '../../server/releases/releases.ts';
import { openStore } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { testRelease } from '../support/releases.ts';

const MIB = 1024 * 1024;
const log = pino({ level: 'silent' });

/** A file system of its own; undefined where tests may not mount one. */
async function smallDisk(t: TestContext, bytes: number): Promise<string | undefined> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-release-disk-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', dir]);
  t.after(async () => {
    if (mounted.status === 0) spawnSync('umount', ['--lazy', dir]);
    await rm(dir, { recursive: true });
  });
  return mounted.status === 0 ? dir : undefined;
}

test('what would leave the store no room is refused, and taken in once there is some', async (t) => {
  const disk = await smallDisk(t, 66 * MIB);
  if (disk === undefined) {
    t.diagnostic('not run: only root can mount a small disk');
    return;
  }
  const store = await openStore({ dataDir: join(disk, 'data'), clock: systemClock });
  t.after(() => store.close());
  const audit = new Audit({ store, clock: systemClock, log });
  const releases = await Releases.open({ store, audit, clock: systemClock, log, keys: new Map() });
  const by = { name: 'admin' };
  const release = testRelease({ bytes: 2 * MIB });
  const { signed, compressed } = release;
  await releases.add([signed], by);
  const put = () => releases.receive(signed, Readable.from([compressed]), by, new AbortController().signal);
  await assert.rejects(put(), { code: 'STORE_FULL', message: /takes up to \d+ bytes of the disk, which has \d+ free/ });
  assert.deepEqual(readdirSync(join(disk, 'data', 'agent-releases')), []);
  assert.equal(releases.get(1).state, 'incomplete');
  assert.equal(spawnSync('mount', ['-o', `remount,size=${80 * MIB}`, disk]).status, 0);
  assert.equal((await put()).state, 'ready');
});
