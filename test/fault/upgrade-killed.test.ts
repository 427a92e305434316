/** An agent that is killed at any step of an upgrade: the executable is whole, and the next start goes on or puts it in order. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { upgradeKilledAt } from '../support/killed-files.ts';
import {
  ALONE,
  agentScript,
  filesOf,
  type OfferedRelease,
  putExecutable,
  releaseOf,
  serveUpgrades,
  type UpgradeHost,
  upgradeAgent,
  upgradeHost,
} from '../support/upgrades.ts';
import { waitFor } from '../support/wait.ts';

const FROM = '1.0.0';
const TO = '1.1.0';
/** More than any part of an upgrade has. */
const NEVER = 1_000;

/** What the host's executable says that it is. */
async function versionOf({ executable }: UpgradeHost): Promise<string> {
  return (await promisify(execFile)(executable, ['run'])).stdout.trim();
}

/** Starts what stands there, as often as it asks for it, until nothing is under way. */
async function untilSettled(t: TestContext, host: UpgradeHost, offered: OfferedRelease) {
  for (let starts = 0; starts < 6; starts += 1) {
    const version = await versionOf(host);
    const agent = await upgradeAgent(host, { version });
    if (!agent.replacement.replacing.aborted) {
      const server = await serveUpgrades(t, agent, { wished: offered.release, files: [offered] });
      await waitFor(
        'the end, or the way out',
        () =>
          agent.replacement.replacing.aborted ||
          server.statuses.some(({ state }) => state === 'done' || state === 'failed'),
        { context: () => JSON.stringify(server.statuses) },
      );
      await server.cut();
      if (!agent.replacement.replacing.aborted) return { version, record: agent.replacement.journal.record };
    }
    assert.equal(await agent.replacement.conclude('stopped', false), true);
  }
  throw new Error('it has not settled after 6 starts');
}

/** The old version's part, until it makes way or is killed. */
async function oldPart(
  t: TestContext,
  host: UpgradeHost,
  offered: OfferedRelease,
  kill: ReturnType<typeof upgradeKilledAt>,
) {
  const agent = await upgradeAgent(host, { version: FROM, disk: kill.disk });
  const server = await serveUpgrades(t, agent, { wished: offered.release, files: [offered] });
  await Promise.race([kill.killed, waitFor('the way out', () => agent.replacement.replacing.aborted)]);
  await server.cut();
}

/** That of the new one, until it has settled or is killed. */
async function newPart(
  t: TestContext,
  host: UpgradeHost,
  offered: OfferedRelease,
  kill: ReturnType<typeof upgradeKilledAt>,
) {
  const agent = await upgradeAgent(host, { version: TO, disk: kill.disk });
  const server = await serveUpgrades(t, agent, { wished: offered.release, files: [offered] });
  await Promise.race([kill.killed, waitFor('the end', async () => (await filesOf(host)).names.length === 1)]);
  await server.cut();
}

test('killed at each step, either version is there whole, and the new one comes in the end', async (t) => {
  const counted = { old: upgradeKilledAt(NEVER, 'before'), next: upgradeKilledAt(NEVER, 'before') };
  const first = await upgradeHost(t, FROM);
  const whole = releaseOf(first, TO);
  await oldPart(t, first, whole, counted.old);
  await newPart(t, first, whole, counted.next);
  assert.deepEqual([counted.old.steps(), counted.next.steps() >= 6], [11, true]);

  const round = async (part: 'old' | 'next', step: number, when: 'before' | 'after') => {
    const where = `${part}, killed ${when} step ${step}`;
    const host = await upgradeHost(t, FROM);
    const offered = releaseOf(host, TO);
    const kill = upgradeKilledAt(step, when);
    if (part === 'next') await oldPart(t, host, offered, upgradeKilledAt(NEVER, 'before'));
    await (part === 'old' ? oldPart : newPart)(t, host, offered, kill);
    await kill.killed;
    assert.match(await versionOf(host), part === 'old' ? /^1\.[01]\.0$/ : /^1\.1\.0$/, where);
    const { version, record } = await untilSettled(t, host, offered);
    assert.deepEqual([version, record.sequence, record.current, record.refused], [TO, 1, undefined, []], where);
    assert.deepEqual(await filesOf(host), { names: ALONE, version: TO }, where);
  };
  for (const part of ['old', 'next'] as const) {
    const steps = Array.from({ length: counted[part].steps() }, (_, index) => index + 1);
    await Promise.all(steps.flatMap((step) => [round(part, step, 'before'), round(part, step, 'after')]));
  }
});

test('what was half unpacked, or half downloaded, is not run', async (t) => {
  const host = await upgradeHost(t, FROM);
  const offered = releaseOf(host, TO);
  const kill = upgradeKilledAt(6, 'after');
  await oldPart(t, host, offered, kill);
  await kill.killed;
  await putExecutable(`${host.executable}.next`, 'exit 7 # half of it');
  await writeFile(`${host.executable}.part`, offered.gz.subarray(0, 10));
  const { version } = await untilSettled(t, host, offered);
  assert.equal(version, TO);
});

test('a new version that starts three times and is never welcomed makes way for the one before', async (t) => {
  const host = await upgradeHost(t, FROM);
  const offered = releaseOf(host, TO);
  await oldPart(t, host, offered, upgradeKilledAt(NEVER, 'before'));
  for (let start = 1; start <= 3; start += 1) {
    const agent = await upgradeAgent(host, { version: TO });
    assert.equal(agent.replacement.replacing.aborted, false, `start ${start}`);
    assert.equal(agent.replacement.journal.current?.starts, start);
  }
  const fourth = await upgradeAgent(host, { version: TO });
  assert.equal(fourth.replacement.replacing.aborted, true);
  assert.deepEqual(await filesOf(host), { names: ALONE, version: FROM });
  const { version, record } = await untilSettled(t, host, offered);
  assert.equal(version, FROM);
  assert.deepEqual(
    record.refused.map(({ sequence }) => sequence),
    [1],
  );
});

test('a version that is put in place by hand meanwhile stays', async (t) => {
  const host = await upgradeHost(t, FROM);
  const offered = releaseOf(host, TO);
  await oldPart(t, host, offered, upgradeKilledAt(NEVER, 'before'));
  await putExecutable(host.executable, agentScript('3.0.0'));
  const agent = await upgradeAgent(host, { version: '3.0.0' });
  assert.equal(agent.replacement.replacing.aborted, false);
  assert.deepEqual(await filesOf(host), { names: ALONE, version: '3.0.0' });
  assert.equal(agent.replacement.journal.current, undefined);
});
