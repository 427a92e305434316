/** What a rollout promises, whatever happens and in whatever order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { RolloutMachine } from '../../server/rollouts/machine.ts';
import { allowedFailures, type RolloutOptions, type Stage } from '../../server/rollouts/options.ts';
import { hasEnded } from '../../server/rollouts/progress.ts';
import type { RolloutHost } from '../../server/store/rollouts.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { hostName, machineOf, START } from '../support/rollout-machine.ts';

const MAX_HOSTS = 12;
const index = fc.nat(MAX_HOSTS - 1);
const stage: fc.Arbitrary<Stage> = fc.oneof(
  fc.record({ hosts: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ percent: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ tag: fc.constantFrom('t0', 't1', 'none') }),
);
const options = fc.record({
  stages: fc.array(stage, { maxLength: 4 }).map((stages): Stage[] => [...stages, { percent: 100 }]),
  pauseSeconds: fc.constantFrom(0, 60),
  confirm: fc.boolean(),
  maxFailures: fc.oneof(fc.nat(3), fc.constantFrom('0%', '20%', '100%')),
  parallel: fc.integer({ min: 1, max: 4 }),
  hostTimeoutSeconds: fc.constantFrom(60, 600),
  waitSeconds: fc.constantFrom(0, 600),
});
const step = fc.oneof(
  fc.record({ kind: fc.constant('end' as const), index, state: fc.constantFrom('done', 'failed', 'skipped') }),
  fc.record({ kind: fc.constant('presence' as const), index, isOnline: fc.boolean() }),
  fc.record({ kind: fc.constant('time' as const), seconds: fc.integer({ min: 0, max: 400 }) }),
  fc.record({ kind: fc.constantFrom('pause' as const, 'resume' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** One rollout, and what is looked at after each step. */
class Watched {
  readonly machine: RolloutMachine;
  readonly #options: RolloutOptions;
  readonly #ends = new Map<string, RolloutHost>();
  #wasOver = false;
  now = START;

  constructor(machine: RolloutMachine, given: RolloutOptions) {
    this.machine = machine;
    this.#options = given;
  }

  do(what: () => void): void {
    const mayAsk = !this.#isOverFailures();
    try {
      what();
    } catch (error) {
      if (!isFairleadError(error, 'CONFLICT')) throw error;
    }
    this.#check(mayAsk);
  }

  #isOverFailures(): boolean {
    const { hosts, progress } = this.machine;
    const failed = hosts.filter(({ state }) => state === 'failed').length;
    return failed - progress.forgiven > allowedFailures(this.#options, hosts.length);
  }

  #check(mayAsk: boolean): void {
    const { hosts, progress } = this.machine;
    const { ask, changed } = this.machine.take();
    const asked = hosts.filter(({ state }) => state === 'asked');
    assert.ok(asked.length <= this.#options.parallel, `${asked.length} are under way`);
    for (const hostId of ask) {
      const host = this.machine.host(hostId);
      assert.ok(host !== undefined && host.stage <= progress.stage, 'none is asked before its stage');
      assert.ok(
        changed.some((row) => row.hostId === hostId),
        'who is asked is written down',
      );
    }
    if (progress.state === 'running') assert.ok(!this.#isOverFailures(), 'too many failures halt it');
    if (progress.state === 'halted' && !mayAsk) assert.deepEqual(ask, [], 'a halted rollout asks nobody');
    for (const host of hosts) {
      const end = this.#ends.get(host.hostId);
      const wentBack = end?.state === 'done' && host.state === 'failed' && !this.#wasOver;
      if (end !== undefined && !wentBack) assert.deepEqual(host, end, 'an end is kept');
      else if (hasEnded(host)) this.#ends.set(host.hostId, host);
    }
    const isOver = progress.endedAt !== undefined;
    this.#wasOver = isOver;
    const mustBeOver = hosts.every(hasEnded);
    assert.equal(isOver, mustBeOver, 'it is over exactly when each host has ended');
    if (!isOver && progress.state === 'running') this.#requireHope();
  }

  /** Whatever it waits for comes about by itself, or is a host's to do. */
  #requireHope(): void {
    const { hosts, nextAt } = this.machine;
    const isUnderWay = hosts.some(({ state }) => state === 'asked');
    assert.ok(isUnderWay || nextAt !== undefined, 'it never waits for nothing');
    if (nextAt !== undefined) assert.ok(nextAt > this.now);
  }
}

function apply(watched: Watched, step: Step): void {
  const { machine } = watched;
  if (step.kind === 'time') watched.now += step.seconds * 1000;
  const { now } = watched;
  watched.do(() => {
    if (step.kind === 'end') {
      const host = machine.hosts[step.index % machine.hosts.length];
      // Only who was asked can say how it ended, and may say so again.
      if (host !== undefined && host.state !== 'pending')
        machine.ended(host.hostId, { state: step.state as 'done' }, now);
    } else if (step.kind === 'presence') machine.presence(hostName(step.index), step.isOnline, now);
    else if (step.kind === 'pause') machine.pause(now);
    else if (step.kind === 'resume') machine.resume(now);
    machine.look(now);
  });
}

/** Lets time pass and goes on with what is held, while every host that is asked stays silent. */
function runOut(watched: Watched): void {
  const { machine } = watched;
  for (let round = 0; machine.progress.endedAt === undefined; round++) {
    assert.ok(round < 500, 'each rollout reaches an end');
    watched.now = Math.max(watched.now + 1, machine.nextAt ?? 0);
    watched.do(() => {
      if (machine.progress.state !== 'running') machine.resume(watched.now);
      machine.look(watched.now);
    });
  }
  assert.ok(machine.hosts.every(hasEnded));
}

const rollout = fc.record({ hosts: fc.integer({ min: 1, max: MAX_HOSTS }), options, offline: fc.uniqueArray(index) });

test('never too many are under way, none is asked beyond the halt, and each host reaches one end', () => {
  fc.assert(
    fc.property(rollout, fc.array(step, { maxLength: 60 }), ({ hosts, options: given, offline }, steps) => {
      const there = offline.filter((one) => one < hosts);
      const watched = new Watched(machineOf({ hosts, options: given, offline: there }), given);
      watched.do(() => watched.machine.resume(watched.now));
      for (const one of steps) apply(watched, one);
      runOut(watched);
    }),
    { numRuns: 400 },
  );
});

test('aborted at any time, it asks nobody any more and is over once those under way have ended', () => {
  fc.assert(
    fc.property(rollout, fc.array(step, { maxLength: 30 }), ({ hosts, options: given, offline }, steps) => {
      const there = offline.filter((one) => one < hosts);
      const watched = new Watched(machineOf({ hosts, options: given, offline: there }), given);
      watched.do(() => watched.machine.resume(watched.now));
      for (const one of steps) apply(watched, one);
      const { machine } = watched;
      const wasOver = machine.progress.endedAt !== undefined;
      watched.do(() => machine.abort(watched.now));
      const underWay = new Set(machine.hosts.filter(({ state }) => state === 'asked').map(({ hostId }) => hostId));
      watched.now += 601_000;
      watched.do(() => machine.look(watched.now));
      for (const host of machine.hosts)
        assert.ok(hasEnded(host) && (!underWay.has(host.hostId) || host.state === 'failed'));
      assert.equal(machine.progress.state === 'aborted', !wasOver);
    }),
    { numRuns: 200 },
  );
});
