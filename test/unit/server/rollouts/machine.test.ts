/** Rollouts: stages, pauses, halts, restarts and ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RolloutMachine } from '../../../../server/rollouts/machine.ts';
import { DEFAULT_OPTIONS } from '../../../../server/rollouts/options.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { endAll, machineOf, START } from '../../../support/rollout-machine.ts';

const CONFLICT = (error: unknown) => isFairleadError(error, 'CONFLICT');

test('a canary goes first, then stage after stage, until all are done', () => {
  const machine = machineOf({ hosts: 20, options: { parallel: 100 } });
  assert.deepEqual(machine.take().ask, []);
  machine.resume(START);
  const first = machine.take();
  assert.equal(first.ask.length, 1);
  assert.deepEqual(
    first.changed.map(({ hostId, state }) => [hostId, state]),
    [[first.ask[0], 'asked']],
  );
  assert.deepEqual(first.news, ['started']);
  const asked = [1, 1, 8, 10].map((wanted) => {
    assert.equal(endAll(machine, 'done', START + 1), wanted);
    return machine.take();
  });
  assert.deepEqual(
    asked.flatMap(({ news }) => news),
    ['stage', 'stage', 'stage', 'done'],
  );
  assert.equal(machine.progress.state, 'done');
  assert.equal(machine.progress.endedAt, START + 1);
  assert.equal(machine.figures(START).total.done, 20);
  assert.equal(machine.nextAt, undefined);
  assert.throws(() => machine.resume(START + 2), CONFLICT);
  assert.throws(() => machine.pause(START + 2), CONFLICT);
  assert.throws(() => machine.abort(START + 2), CONFLICT);
});

test('no more than `parallel` hosts are under way, and the next is asked as one ends', () => {
  const machine = machineOf({ hosts: 10, options: { parallel: 3, stages: [{ percent: 100 }] } });
  machine.resume(START);
  const { ask } = machine.take();
  assert.equal(ask.length, 3);
  machine.look(START + 1);
  assert.deepEqual(machine.take().ask, []);
  machine.ended(ask[1] ?? '', { state: 'done' }, START + 2);
  machine.look(START + 2);
  assert.equal(machine.take().ask.length, 1);
  assert.equal(machine.figures(START + 2).total.asked, 3);
});

test('between stages it waits for pauseSeconds, or for less if it is resumed', () => {
  const machine = machineOf({
    hosts: 10,
    options: { pauseSeconds: 60, stages: [{ hosts: 1 }, { hosts: 1 }, { hosts: 1 }] },
  });
  machine.resume(START);
  endAll(machine, 'done', START);
  assert.equal(machine.take().ask.length, 1);
  assert.equal(machine.nextAt, START + 60_000);
  machine.look(START + 59_999);
  assert.deepEqual(machine.take().ask, []);
  machine.look(START + 60_000);
  assert.equal(machine.take().ask.length, 1);
  endAll(machine, 'done', START + 60_000);
  machine.resume(START + 60_001);
  assert.equal(machine.take().ask.length, 1);
  assert.throws(() => machine.resume(START + 60_002), CONFLICT, 'it runs already');
});

test('with confirm it pauses behind each stage but the last', () => {
  const machine = machineOf({ hosts: 3, options: { confirm: true, stages: [{ hosts: 1 }, { hosts: 2 }] } });
  machine.resume(START);
  endAll(machine, 'done', START);
  assert.equal(machine.progress.state, 'paused');
  assert.match(machine.progress.reason ?? '', /stage 1 is over/);
  machine.take();
  machine.look(START + 1_000_000);
  assert.deepEqual(machine.take().ask, []);
  machine.resume(START + 1_000_000);
  assert.equal(endAll(machine, 'done', START + 1_000_000), 2);
  assert.equal(machine.progress.state, 'done');
});

test('more failures than allowed halt it; those under way end; resumed, as many may fail again', () => {
  const machine = machineOf({ hosts: 12, options: { maxFailures: 1, parallel: 4, stages: [{ percent: 100 }] } });
  machine.resume(START);
  const { ask } = machine.take();
  for (const hostId of ask.slice(0, 2)) machine.ended(hostId, { state: 'failed', code: 'TIMEOUT' }, START);
  machine.look(START);
  assert.equal(machine.progress.state, 'halted');
  assert.equal(machine.progress.reason, '2 hosts have failed, and 1 may');
  assert.deepEqual(machine.take().news, ['halted']);
  assert.equal(endAll(machine, 'done', START + 1), 2);
  assert.deepEqual(machine.take().ask, []);
  assert.equal(machine.progress.endedAt, undefined);
  assert.throws(() => machine.pause(START + 2), CONFLICT);
  machine.resume(START + 2);
  assert.equal(machine.take().ask.length, 4);
  machine.ended(machine.hosts.find(({ state }) => state === 'asked')?.hostId ?? '', { state: 'failed' }, START + 3);
  machine.look(START + 3);
  assert.equal(machine.progress.state, 'running');
});

test('a rollout of which every host has ended while it is halted is over, and stays halted', () => {
  const machine = machineOf({ hosts: 1 });
  machine.resume(START);
  endAll(machine, 'failed', START + 5);
  assert.deepEqual([machine.progress.state, machine.progress.endedAt], ['halted', START + 5]);
  assert.throws(() => machine.resume(START + 6), /halted and over: it cannot be resumed; start a new one/);
});

test('a stage without a host that was done halts it, whatever may fail', () => {
  const machine = machineOf({ hosts: 5, options: { maxFailures: '100%', stages: [{ hosts: 2 }, { percent: 100 }] } });
  machine.resume(START);
  endAll(machine, 'skipped', START);
  assert.equal(machine.progress.state, 'halted');
  assert.equal(machine.progress.reason, 'no host of stage 1 was upgraded');
  machine.take();
  machine.resume(START + 1);
  assert.equal(machine.take().ask.length, 3, 'resumed, it goes on with the next stage');
});

test('halted by its canary and resumed once, it goes on with the next stage', () => {
  const stages = [{ hosts: 1 }, { hosts: 2 }, { percent: 100 }];
  const machine = machineOf({ hosts: 5, options: { pauseSeconds: 60, stages } });
  machine.resume(START);
  endAll(machine, 'failed', START);
  assert.equal(machine.progress.reason, '1 host has failed, and 0 may');
  machine.take();
  machine.resume(START + 1);
  assert.equal(machine.progress.state, 'running');
  const { ask, news } = machine.take();
  assert.deepEqual([ask.length, news], [2, ['resumed']]);
  // What was forgiven is not what the next stage may do.
  endAll(machine, 'failed', START + 2);
  assert.equal(machine.progress.reason, '2 hosts have failed, and 0 may');
});

test('halted amid a stage and resumed, it halts again if no host of the stage is upgraded after all', () => {
  const machine = machineOf({ hosts: 4, options: { parallel: 1, stages: [{ hosts: 2 }, { percent: 100 }] } });
  machine.resume(START);
  endAll(machine, 'failed', START);
  machine.resume(START + 1);
  assert.equal(endAll(machine, 'skipped', START + 1), 1);
  assert.equal(machine.progress.reason, 'no host of stage 1 was upgraded');
});

test('a host that was done and goes back has failed, until the rollout is over', () => {
  const machine = machineOf({ hosts: 2, options: { pauseSeconds: 60, stages: [{ hosts: 1 }, { hosts: 1 }] } });
  machine.resume(START);
  const [canary = ''] = machine.take().ask;
  endAll(machine, 'done', START);
  machine.ended(canary, { state: 'failed', code: 'RELEASE_INVALID', detail: 'it did not stay' }, START + 1);
  machine.look(START + 1);
  assert.equal(machine.host(canary)?.detail, 'it did not stay');
  assert.equal(machine.progress.state, 'halted');
  machine.look(START + 1_000_000);
  assert.deepEqual(machine.take().ask, []);
  machine.resume(START + 1_000_000);
  const [last = ''] = machine.take().ask;
  endAll(machine, 'done', START + 1_000_001);
  assert.equal(machine.progress.state, 'done');
  machine.ended(last, { state: 'failed' }, START + 1_000_002);
  assert.equal(machine.host(last)?.state, 'done');
});

test('a host that does not come back in time has failed, and is not to try it later', () => {
  const machine = machineOf({ hosts: 2, options: { hostTimeoutSeconds: 30, stages: [{ hosts: 1 }, { hosts: 1 }] } });
  machine.resume(START);
  const { ask } = machine.take();
  assert.equal(machine.nextAt, START + 30_000);
  machine.look(START + 30_000);
  const { withdraw, changed } = machine.take();
  assert.deepEqual(withdraw, ask);
  assert.deepEqual(
    changed.map(({ state, code }) => [state, code]),
    [['failed', 'TIMEOUT']],
  );
  assert.equal(machine.progress.state, 'halted');
  machine.ended(ask[0] ?? '', { state: 'done' }, START + 31_000);
  assert.equal(machine.host(ask[0] ?? '')?.state, 'failed', 'a host keeps its end');
});

test('paused, it asks nobody; what is under way ends', () => {
  const machine = machineOf({ hosts: 4, options: { parallel: 2, stages: [{ percent: 100 }] } });
  machine.resume(START);
  machine.take();
  machine.pause(START + 1);
  machine.pause(START + 1);
  assert.deepEqual(machine.take().news, ['paused']);
  endAll(machine, 'done', START + 2);
  assert.deepEqual(machine.take().ask, []);
  machine.resume(START + 3);
  assert.equal(machine.take().ask.length, 2);
});

test('aborted, what was not begun is cancelled, and it is over once what is under way has ended', () => {
  const machine = machineOf({ hosts: 4, offline: [1], options: { parallel: 2, stages: [{ percent: 100 }] } });
  machine.resume(START);
  machine.abort(START + 1);
  assert.equal(machine.progress.state, 'aborted');
  assert.equal(machine.progress.endedAt, undefined);
  assert.deepEqual([machine.figures(START).total.cancelled, machine.figures(START).total.asked], [2, 2]);
  assert.throws(() => machine.resume(START + 2), CONFLICT);
  assert.throws(() => machine.pause(START + 2), CONFLICT);
  machine.abort(START + 2);
  endAll(machine, 'done', START + 3);
  assert.deepEqual([machine.progress.state, machine.progress.endedAt], ['aborted', START + 3]);
});

test('what was only planned can be aborted as well', () => {
  const machine = machineOf({ hosts: 4 });
  machine.abort(START);
  assert.deepEqual([machine.progress.state, machine.progress.endedAt], ['aborted', START]);
  assert.deepEqual(machine.take().ask, []);
});

test('after a restart hosts have their time anew, and none counts as away before it had time to return', () => {
  const before = machineOf({ hosts: 3, options: { hostTimeoutSeconds: 90, parallel: 1, stages: [{ percent: 100 }] } });
  before.resume(START);
  endAll(before, 'done', START);
  const later = START + 10_000_000;
  const { progress, hosts } = before;
  const machine = new RolloutMachine({
    options: { ...DEFAULT_OPTIONS, hostTimeoutSeconds: 90, parallel: 1, stages: [{ percent: 100 }] },
    ...{ progress, hosts, now: later, toWall: (at: number) => at },
    away: new Map(hosts.map(({ hostId }) => [hostId, later])),
  });
  machine.look(later);
  assert.deepEqual(machine.take(), { changed: [], ask: [], withdraw: [], news: [] });
  assert.equal(machine.figures(later).total.waiting, 0);
  machine.look(later + 90_000);
  assert.equal(machine.take().changed[0]?.code, 'TIMEOUT');
});

test('a wall clock that was set back before a restart makes no pause between stages longer', () => {
  const options = { ...DEFAULT_OPTIONS, pauseSeconds: 60, stages: [{ hosts: 1 }, { hosts: 1 }] };
  const before = machineOf({ hosts: 2, options });
  before.resume(START);
  endAll(before, 'done', START);
  const { progress, hosts } = before;
  const toWall = (at: number) => at - 8 * 86_400_000;
  const machine = new RolloutMachine({ options, progress, hosts, now: START, away: new Map(), toWall });
  machine.look(START + 60_000);
  assert.equal(machine.take().ask.length, 1);
  assert.equal(machine.hosts.find(({ state }) => state === 'asked')?.askedAt, toWall(START + 60_000));
});
