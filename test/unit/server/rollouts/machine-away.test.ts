/** Rollouts whose hosts are away: those that are still to be asked, and those that were upgraded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RolloutMachine } from '../../../../server/rollouts/machine.ts';
import { DEFAULT_OPTIONS } from '../../../../server/rollouts/options.ts';
import { AWAY_MS } from '../../../../server/rollouts/rollout-hosts.ts';
import { endAll, machineOf, START } from '../../../support/rollout-machine.ts';

test('a stage does not begin while all hosts that were upgraded are gone', () => {
  const options = { pauseSeconds: 60, stages: [{ hosts: 2 }, { hosts: 1 }, { hosts: 1 }] };
  const start = () => {
    const machine = machineOf({ hosts: 4, options });
    machine.resume(START);
    const canaries = machine.take().ask;
    endAll(machine, 'done', START);
    return { machine, canaries };
  };
  const { machine, canaries } = start();
  for (const hostId of canaries) machine.presence(hostId, false, START);
  machine.look(START + 60_000);
  assert.equal(machine.progress.state, 'halted');
  assert.equal(machine.progress.reason, 'all 2 hosts that were upgraded are offline');
  assert.deepEqual(machine.take().ask, []);
  machine.resume(START + 60_001);
  assert.equal(machine.take().ask.length, 1, 'resumed, it goes on all the same');

  const other = start();
  other.machine.presence(other.canaries[0] ?? '', false, START);
  other.machine.look(START + 60_000);
  assert.equal(other.machine.take().ask.length, 1, 'one that is there is enough');
});

test('while all hosts that were upgraded may be on their way back, as after a restart, a stage that is due waits for one', () => {
  const options = { ...DEFAULT_OPTIONS, pauseSeconds: 60, stages: [{ hosts: 2 }, { hosts: 1 }] };
  const before = machineOf({ hosts: 3, options });
  before.resume(START);
  endAll(before, 'done', START);
  const { progress, hosts } = before;
  const canaries = hosts.filter(({ state }) => state === 'done').map(({ hostId }) => hostId);
  const later = START + 10_000_000;
  const restart = () => {
    const away = new Map(canaries.map((hostId) => [hostId, later]));
    const machine = new RolloutMachine({ options, progress, hosts, now: later, away, toWall: (at) => at });
    machine.look(later);
    assert.deepEqual([machine.take().ask, machine.isHeldBack], [[], true]);
    assert.equal(machine.nextAt, later + AWAY_MS);
    return machine;
  };
  const back = restart();
  back.presence(canaries[1] ?? '', true, later + 1);
  back.look(later + 1);
  assert.deepEqual([back.take().ask.length, back.isHeldBack], [1, false]);

  const gone = restart();
  gone.look(later + AWAY_MS);
  assert.equal(gone.progress.reason, 'all 2 hosts that were upgraded are offline');
  assert.deepEqual([gone.take().ask, gone.isHeldBack], [[], false]);
});

test('hosts that are offline are waited for apart: the stage goes on without them, and they are asked when they return', () => {
  const machine = machineOf({ hosts: 6, offline: [2], options: { stages: [{ percent: 100 }] } });
  machine.resume(START);
  assert.equal(machine.take().ask.length, 5);
  assert.deepEqual([machine.figures(START).total.waiting, machine.figures(START).total.pending], [1, 0]);
  endAll(machine, 'done', START + 1);
  assert.equal(machine.progress.state, 'running', 'it waits for the last one');
  machine.presence('host-2', true, START + 2);
  machine.look(START + 2);
  assert.deepEqual(machine.take().ask, ['host-2']);
  endAll(machine, 'done', START + 3);
  assert.equal(machine.progress.state, 'done');
});

test('a stage of which nobody is there waits for the first one; the next stage does not wait for the others', () => {
  const stages = [{ tag: 't0' }, { percent: 100 }];
  const machine = machineOf({ hosts: 6, offline: [0, 3], options: { stages } });
  machine.resume(START);
  assert.deepEqual(machine.take().ask, []);
  machine.presence('host-3', true, START + 1);
  machine.look(START + 1);
  assert.deepEqual(machine.take().ask, ['host-3']);
  endAll(machine, 'done', START + 2);
  assert.equal(machine.take().ask.length, 4);
  assert.equal(machine.figures(START + 2).stages[0]?.waiting, 1);
});

test('who comes back in the pause before the next stage is asked at once', () => {
  const stages = [{ tag: 't0' }, { percent: 100 }];
  const machine = machineOf({ hosts: 4, offline: [3], options: { stages, pauseSeconds: 600 } });
  machine.resume(START);
  endAll(machine, 'done', START);
  assert.deepEqual([machine.progress.stage, machine.take().news.at(-1)], [1, 'stage']);
  machine.presence('host-3', true, START + 1);
  machine.look(START + 1);
  assert.deepEqual(machine.take().ask, ['host-3']);
});

test('a host that has just gone holds its stage for a while: it may be on its way back', () => {
  const machine = machineOf({ hosts: 3, options: { parallel: 1, stages: [{ hosts: 2 }, { hosts: 1 }] } });
  machine.resume(START);
  const [first = ''] = machine.take().ask;
  const second = machine.hosts[1]?.hostId ?? '';
  machine.presence(second, false, START + 1);
  machine.ended(first, { state: 'done' }, START + 2);
  machine.look(START + 2);
  assert.deepEqual(machine.take().ask, []);
  assert.equal(machine.progress.stage, 0);
  assert.equal(machine.nextAt, START + 1 + AWAY_MS);
  machine.look(START + 1 + AWAY_MS);
  assert.equal(machine.progress.stage, 1);
  assert.equal(machine.take().ask.length, 1);
});

test('hosts that do not come back are given up after waitSeconds', () => {
  const options = { waitSeconds: 3600, stages: [{ percent: 100 }] };
  const machine = machineOf({ hosts: 2, offline: [0], options });
  machine.resume(START);
  endAll(machine, 'done', START);
  assert.equal(machine.nextAt, START + 3_600_000);
  machine.look(START + 3_600_000);
  assert.equal(machine.progress.state, 'done');
  assert.deepEqual([machine.host('host-0')?.state, machine.host('host-0')?.code], ['skipped', 'HOST_OFFLINE']);
});
