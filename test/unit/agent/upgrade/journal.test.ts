import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { durableDisk } from '../../../../agent/upgrade/files.ts';
import { readUpgradeRecord, UpgradeJournal } from '../../../../agent/upgrade/journal.ts';
import { describeUpgrade, upgradeStatus } from '../../../../agent/upgrade/status.ts';
import { MAX_REASON_CHARS } from '../../../../shared/limits.ts';
import { modeOf } from '../../../support/mesh.ts';
import { tempDir } from '../../../support/tmp.ts';
import { releaseOf, upgradeAgent, upgradeHost } from '../../../support/upgrades.ts';

const AT = '2026-01-01T00:00:00.000Z';
const now = () => Date.parse(AT);

test('the sequence that the executable was built with counts as run, whatever the file says', async (t) => {
  const dir = await tempDir(t, 'journal');
  const open = async (sequence?: number) => await UpgradeJournal.load(dir, { now: () => 0, sequence });
  assert.equal((await open()).record.sequence, 0);
  assert.equal((await open(7)).record.sequence, 7);
  assert.equal(UpgradeJournal.empty(dir, { now: () => 0, sequence: 7 }).record.sequence, 7);
  const release = { version: '1.0.0', sequence: 9 };
  await (await open(7)).failed(release, { code: 'CONFLICT', detail: 'it crashed', again: false });
  assert.equal((await open()).record.sequence, 7);
  assert.equal((await open(8)).record.sequence, 8);
  assert.equal((await open(3)).record.sequence, 7);
});

test('each step is on the disk, for its owner alone, and read again as it was', async (t) => {
  const host = await upgradeHost(t);
  const { release } = releaseOf(host, '1.1.0', { sequence: 7 });
  const journal = await UpgradeJournal.load(host.stateDir, { now });
  assert.deepEqual(journal.record, { sequence: 0, refused: [] });
  assert.equal(await readUpgradeRecord(host.stateDir), undefined);
  const change = { release, executable: host.executable, trials: 1, starts: 0 };
  await journal.step('trying', change);
  assert.equal(await modeOf(join(host.stateDir, 'upgrade.json')), 0o600);
  const again = await UpgradeJournal.load(host.stateDir, { now });
  assert.deepEqual(again.current, { ...change, step: 'trying', since: AT });
  const { state, version, since } = upgradeStatus(again.record);
  assert.deepEqual([state, version, since], ['trying', '1.1.0', AT]);

  await journal.settled({ ...change, step: 'settling', since: AT });
  await journal.clear();
  const last = { sequence: 7, version: '1.1.0', state: 'done', at: AT };
  assert.deepEqual(await readUpgradeRecord(host.stateDir), { sequence: 7, refused: [], last });
});

test('the latest releases that failed are remembered, once each; those that may come again are not', async (t) => {
  const host = await upgradeHost(t);
  const journal = await UpgradeJournal.load(host.stateDir, { now });
  const failure = { code: 'CONFLICT', detail: 'd'.repeat(2 * MAX_REASON_CHARS), again: false };
  for (let sequence = 1; sequence <= 20; sequence += 1) await journal.failed({ sequence, version: '1.0.0' }, failure);
  await journal.failed({ sequence: 19, version: '1.0.0' }, failure);
  await journal.failed({ sequence: 30, version: '3.0.0' }, { ...failure, again: true });
  const { refused, last } = journal.record;
  assert.deepEqual(
    refused.map(({ sequence }) => sequence),
    [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 19],
  );
  assert.equal(refused[0]?.detail.length, MAX_REASON_CHARS);
  assert.deepEqual([last?.sequence, last?.state], [30, 'failed']);
  const rows = describeUpgrade(upgradeStatus(journal.record));
  assert.match(rows[0]?.[1] ?? '', /^failed, version 3\.0\.0 \(sequence 30\), since 2026.*: d+$/);
  assert.match(rows[1]?.[1] ?? '', /1\.0\.0 \(sequence 20\), 1\.0\.0 \(sequence 19\)$/);
});

test('a refusal is written down once, and does not hide why the release has failed', async (t) => {
  const host = await upgradeHost(t);
  const journal = await UpgradeJournal.load(host.stateDir, { now });
  await journal.refused({ sequence: 1, version: '1.1.0' }, 'CONFLICT', 'no');
  const path = join(host.stateDir, 'upgrade.json');
  await writeFile(path, 'touched');
  await journal.refused({ sequence: 1, version: '1.1.0' }, 'CONFLICT', 'no');
  assert.equal(await readFile(path, 'utf8'), 'touched');
  await journal.failed({ sequence: 2, version: '1.2.0' }, { code: 'CONFLICT', detail: 'it crashed', again: false });
  await journal.refused({ sequence: 2, version: '1.2.0' }, 'CONFLICT', 'has failed');
  assert.deepEqual([journal.record.last?.state, journal.record.last?.detail], ['failed', 'it crashed']);
});

test('changes that come together are all kept, and one that cannot be written is no change', async (t) => {
  const host = await upgradeHost(t);
  const { release } = releaseOf(host, '1.1.0');
  let isFull = false;
  const write = async (...args: Parameters<typeof durableDisk.write>) => {
    if (isFull) throw new Error('full');
    await durableDisk.write(...args);
  };
  const journal = await UpgradeJournal.load(host.stateDir, { disk: { ...durableDisk, write }, now });
  const change = { release, executable: host.executable, trials: 0, starts: 0 };
  await Promise.all([
    journal.step('downloading', change),
    journal.refused({ sequence: 9, version: '9.0.0' }, 'CONFLICT', 'no'),
    journal.step('verifying', change),
  ]);
  const { current, last } = (await readUpgradeRecord(host.stateDir)) ?? {};
  assert.deepEqual([current?.step, last?.sequence], ['verifying', 9]);
  isFull = true;
  await assert.rejects(journal.clear(), /full/);
  isFull = false;
  await journal.step('trying', change);
  assert.equal((await readUpgradeRecord(host.stateDir))?.current?.step, 'trying');
});

test('with a damaged journal the agent serves, and takes no release', async (t) => {
  const host = await upgradeHost(t);
  const path = join(host.stateDir, 'upgrade.json');
  for (const text of ['{"sequence":', '{"sequence":-1,"refused":[]}']) {
    await writeFile(path, text);
    const { replacement } = await upgradeAgent(host);
    assert.equal(replacement.damage, 'its upgrade.json is damaged');
    assert.equal(await replacement.conclude('stopped', false), false);
    assert.equal(await readFile(path, 'utf8'), text);
    await assert.rejects(readUpgradeRecord(host.stateDir), { code: 'VALIDATION' });
  }
});
