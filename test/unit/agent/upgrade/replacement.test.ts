import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { markOf, readRun, StateLock } from '../../../../agent/identity/state-lock.ts';
import { durableDisk } from '../../../../agent/upgrade/files.ts';
import { replaceProcess } from '../../../../agent/upgrade/replace.ts';
import { swap } from '../../../../agent/upgrade/swap.ts';
import { type Watched, watch } from '../../../../agent/upgrade/watch.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import {
  ALONE,
  agentScript,
  filesOf,
  ownProcess,
  putExecutable,
  releaseOf,
  type UpgradeHost,
  upgradeAgent,
  upgradeHost,
} from '../../../support/upgrades.ts';
import { waitFor } from '../../../support/wait.ts';

const log = pino({ level: 'silent' });

/** A host on which 1.1.0 has just taken the place of 1.0.0. */
async function swapped(t: TestContext): Promise<UpgradeHost> {
  const host = await upgradeHost(t);
  const { release } = releaseOf(host, '1.1.0');
  const { replacement } = await upgradeAgent(host);
  const { journal, paths } = replacement;
  await putExecutable(paths.next, agentScript('1.1.0'));
  await journal.step('trying', { release, executable: host.executable, trials: 1, starts: 0 });
  assert.ok(journal.current);
  await swap(journal, paths, durableDisk, journal.current);
  return host;
}

test('a new version that is not welcomed by its deadline goes back, and one that is stays', async (t) => {
  const clock = new FakeClock();
  const late = await swapped(t);
  const { replacement } = await upgradeAgent(late, { version: '1.1.0', clock, settleMs: 1_000 });
  clock.advance(999);
  assert.equal(replacement.replacing.aborted, false);
  clock.advance(1);
  await waitFor('the way back', () => replacement.replacing.aborted);
  assert.equal(await replacement.conclude('stopped', false), true);
  assert.deepEqual(await filesOf(late), { names: ALONE, version: '1.0.0' });

  const inTime = await swapped(t);
  const { replacement: kept } = await upgradeAgent(inTime, { version: '1.1.0', clock, settleMs: 1_000 });
  await kept.settle();
  clock.advance(5_000);
  assert.equal(kept.replacing.aborted, false);
  assert.equal(clock.pendingTimers, 0);
  assert.deepEqual(await filesOf(inTime), { names: ALONE, version: '1.1.0' });
});

test('one that is welcomed on a full disk stays once there is room, and its deadline counts till then', async (t) => {
  const clock = new FakeClock();
  const host = await swapped(t);
  let isFull = false;
  const write = async (...args: Parameters<typeof durableDisk.write>) => {
    if (isFull) throw new Error('full');
    await durableDisk.write(...args);
  };
  const disk = { ...durableDisk, write };
  const { replacement } = await upgradeAgent(host, { version: '1.1.0', clock, disk, settleMs: 60_000 });
  isFull = true;
  await replacement.settle();
  assert.equal(replacement.journal.current?.step, 'settling');
  isFull = false;
  clock.advance(5_000);
  await waitFor('it to settle', () => replacement.journal.current === undefined);
  assert.deepEqual(await filesOf(host), { names: ALONE, version: '1.1.0' });
  assert.equal(clock.pendingTimers, 0);
});

test('one that ends unsettled goes back, for good unless it was stopped', async (t) => {
  for (const isStopped of [false, true]) {
    const host = await swapped(t);
    const { replacement } = await upgradeAgent(host, { version: '1.1.0' });
    assert.equal(await replacement.conclude('VERSION: no common one', isStopped), !isStopped);
    assert.deepEqual(await filesOf(host), { names: ALONE, version: '1.0.0' });
    assert.equal(replacement.journal.record.refused.length, isStopped ? 0 : 1);
  }
});

test('a new executable that cannot be started is replaced by the one before', async (t) => {
  const host = await swapped(t);
  const { replacement } = await upgradeAgent(host, { version: '1.1.0' });
  const started: string[] = [];
  const own = {
    ...ownProcess(host.executable, '1.0.0'),
    execve: (file: string): never => {
      started.push(execFileSync(file, ['run'], { encoding: 'utf8' }).trim());
      throw Object.assign(new Error('no'), { code: started.length === 1 ? 'ETXTBSY' : 'ENOEXEC' });
    },
  };
  await assert.rejects(replaceProcess(replacement, own, systemClock), { code: 'ENOEXEC' });
  assert.deepEqual(started, ['1.1.0', '1.1.0', '1.0.0']);
  assert.deepEqual(await filesOf(host), { names: ALONE, version: '1.0.0' });
});

test('a process that hangs on its way out is replaced all the same', async (t) => {
  const clock = new FakeClock();
  const host = await upgradeHost(t);
  const { replacement } = await upgradeAgent(host, { clock });
  let forced = 0;
  const callOff = replacement.insist(() => {
    forced += 1;
  });
  replacement.swapped('1.1.0');
  clock.advance(14_999);
  assert.equal(forced, 0);
  clock.advance(1);
  assert.equal(forced, 1);
  callOff();
  assert.equal(clock.pendingTimers, 0);
});

interface Watching {
  readonly ended: Promise<Watched>;
  readonly killed: number[];
  stop(): void;
}

function watching(
  host: UpgradeHost,
  pid: number,
  { settleMs = 60_000, start = markOf(pid).start, disk = durableDisk } = {},
): Watching {
  const controller = new AbortController();
  const killed: number[] = [];
  const ended = watch(
    {
      ...{ stateDir: host.stateDir, executable: host.executable, sequence: 1, settleMs, disk, log },
      agent: { pid, ...(start === undefined ? {} : { start }) },
      clock: systemClock,
      kill: (victim) => {
        killed.push(victim);
        process.kill(victim, 'SIGKILL');
      },
    },
    controller.signal,
  );
  return { ended, killed, stop: () => controller.abort() };
}

function sleeper(t: TestContext) {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  return { pid: child.pid ?? 0, kill: () => child.kill('SIGKILL'), exited: once(child, 'exit') };
}

test('the watcher goes when the new version has settled', async (t) => {
  const host = await swapped(t);
  const agent = sleeper(t);
  const it = watching(host, agent.pid);
  const { replacement } = await upgradeAgent(host, { version: '1.1.0' });
  await replacement.settle();
  assert.equal(await it.ended, 'settled');
  assert.deepEqual(it.killed, []);
});

test('the watcher puts back what has died, and is not misled by another process of the same number', async (t) => {
  const dead = await swapped(t);
  const agent = sleeper(t);
  const it = watching(dead, agent.pid);
  agent.kill();
  assert.equal(await it.ended, 'restored');
  assert.deepEqual([it.killed, readRun(dead.stateDir)], [[], undefined]);
  assert.deepEqual(await filesOf(dead), { names: ALONE, version: '1.0.0' });

  const other = await swapped(t);
  const later = sleeper(t);
  assert.equal(await watching(other, later.pid, { start: 'another-boot:1' }).ended, 'restored');
});

test('what cannot be written down is put back all the same, and the next start finds out', async (t) => {
  const write = async () => {
    throw new Error('full');
  };
  const disk = { ...durableDisk, write };
  const watched = await swapped(t);
  const agent = sleeper(t);
  agent.kill();
  await agent.exited;
  assert.equal(await watching(watched, agent.pid, { disk }).ended, 'restored');
  assert.deepEqual(await filesOf(watched), { names: ALONE, version: '1.0.0' });

  const alone = await swapped(t);
  let isFull = false;
  const sometimes = {
    ...disk,
    write: (...args: Parameters<typeof durableDisk.write>) => (isFull ? write() : durableDisk.write(...args)),
  };
  const { replacement } = await upgradeAgent(alone, { version: '1.1.0', disk: sometimes });
  isFull = true;
  assert.equal(await replacement.conclude('VERSION: no common one', false), true);
  for (const host of [watched, alone]) {
    assert.deepEqual(await filesOf(host), { names: ALONE, version: '1.0.0' });
    const { record } = (await upgradeAgent(host)).replacement.journal;
    assert.deepEqual([record.current, record.refused.length, record.last?.state], [undefined, 1, 'failed']);
  }
});

test('the watcher kills what hangs', async (t) => {
  const host = await swapped(t);
  const agent = sleeper(t);
  const it = watching(host, agent.pid, { settleMs: 100 });
  assert.equal(await it.ended, 'restored');
  assert.deepEqual(it.killed, [agent.pid]);
  await agent.exited;
  const { replacement } = await upgradeAgent(host);
  assert.match(replacement.journal.record.last?.detail ?? '', /it hung/);
});

test('the watcher ends the new version that somebody has started again meanwhile', async (t) => {
  const host = await swapped(t);
  const [first, second] = [sleeper(t), sleeper(t)];
  const it = watching(host, first.pid);
  const lock = StateLock.claim(host.stateDir, 'connecting', { log, now: Date.now });
  lock.release();
  await writeFile(
    `${host.stateDir}/run.json`,
    JSON.stringify({ ...markOf(second.pid), state: 'connecting', since: new Date().toISOString() }),
  );
  first.kill();
  assert.equal(await it.ended, 'restored');
  assert.deepEqual(it.killed, [second.pid]);
});

test('a watcher that is told to stop puts back what is dead all the same: so it is when a service has crashed', async (t) => {
  const dead = await swapped(t);
  const agent = sleeper(t);
  const it = watching(dead, agent.pid);
  it.stop();
  agent.kill();
  assert.equal(await it.ended, 'restored');
  const { replacement } = await upgradeAgent(dead);
  assert.equal(replacement.journal.record.refused.length, 1);
});
