/** Which hosts go first, and how they are spread over stages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowedFailures, DEFAULT_OPTIONS } from '../../../../server/rollouts/options.ts';
import { type Candidate, planStages } from '../../../../server/rollouts/plan.ts';

function fleet(count: number, facts: (index: number) => Partial<Candidate> = () => ({})): Candidate[] {
  return Array.from({ length: count }, (_, i) => ({ hostId: `host-${i}`, tags: [], isOnline: true, ...facts(i) }));
}

/** How many hosts each stage has. */
function sizes(...[id, candidates, stages]: Parameters<typeof planStages>): number[] {
  const placed = planStages(id, candidates, stages);
  return stages.map((_, index) => placed.filter(({ stage }) => stage === index).length);
}

test('by default 1 host goes first, then all up to 10 %, up to 50 %, and the others', () => {
  assert.deepEqual(sizes('r', fleet(100), DEFAULT_OPTIONS.stages), [1, 9, 40, 50]);
  assert.deepEqual(sizes('r', fleet(7), DEFAULT_OPTIONS.stages), [1, 0, 3, 3]);
  assert.deepEqual(sizes('r', fleet(1), DEFAULT_OPTIONS.stages), [1, 0, 0, 0]);
  assert.deepEqual(sizes('r', [], DEFAULT_OPTIONS.stages), [0, 0, 0, 0]);
});

test('a stage takes by number, by part of all, or by tag; hosts in none are left out', () => {
  const tagged = fleet(10, (i) => ({ tags: i < 4 ? ['lab'] : ['shop'] }));
  assert.deepEqual(sizes('r', tagged, [{ tag: 'lab' }, { hosts: 2 }, { percent: 70 }]), [4, 2, 1]);
  assert.deepEqual(sizes('r', tagged, [{ tag: 'none' }, { percent: 5 }, { percent: 5 }]), [0, 1, 0]);
  const lab = planStages('r', tagged, [{ tag: 'lab' }]).map(({ hostId }) => hostId);
  assert.deepEqual(new Set(lab), new Set(['host-0', 'host-1', 'host-2', 'host-3']));
});

test('the order is the same each time for a rollout, whatever order the hosts come in, and another one for the next', () => {
  const hosts = fleet(50);
  const order = (id: string, of: Candidate[]) => planStages(id, of, [{ percent: 100 }]).map(({ hostId }) => hostId);
  assert.deepEqual(order('first', hosts), order('first', hosts.toReversed()));
  assert.notDeepEqual(order('first', hosts), order('second', hosts));
  const canaries = new Set(Array.from({ length: 40 }, (_, i) => order(`rollout-${i}`, hosts)[0]));
  assert.ok(canaries.size > 10, 'it is not always the same host that goes first');
});

test('hosts that are there come before those that are away', () => {
  const half = fleet(20, (i) => ({ isOnline: i % 2 === 0 }));
  const placed = planStages('r', half, [{ hosts: 10 }, { percent: 100 }]);
  for (const { hostId, stage } of placed) assert.equal(stage, Number(hostId.slice(5)) % 2);
  assert.deepEqual(
    placed.map(({ place }) => place),
    half.map((_, index) => index),
  );
});

test('failures are allowed by number or as a part of the hosts', () => {
  assert.equal(allowedFailures({ maxFailures: 3 }, 100), 3);
  assert.equal(allowedFailures({ maxFailures: '5%' }, 100), 5);
  assert.equal(allowedFailures({ maxFailures: '5%' }, 19), 0);
  assert.equal(allowedFailures({ maxFailures: '100%' }, 19), 19);
});
