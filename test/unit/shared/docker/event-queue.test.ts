/** Events that wait for the server: so many, in order, and what had no room is counted where it is missing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventQueue, MAX_WAITING_EVENTS } from '../../../../shared/docker/event-queue.ts';
import type { HostEvent } from '../../../../shared/messages/host-events.ts';

const event = (action: string, id = 'c1'): HostEvent => ({
  ...{ type: 'container', action, id },
  attributes: { name: 'web' },
  timeNano: 1e18,
});
const actions = (events: readonly HostEvent[]) => events.map(({ action }) => action);

/** All that waits, as a server takes it. */
function takeAll(queue: EventQueue): HostEvent[] {
  const all: HostEvent[] = [];
  for (let after = 0; ; ) {
    const { last, events } = queue.behind(after);
    if (events.length === 0) return all;
    all.push(...events);
    queue.forget(last);
    after = last;
  }
}

test('what is given away stays until it has arrived', () => {
  const queue = new EventQueue(() => 0);
  for (const action of ['create', 'start', 'die']) queue.push(event(action));
  assert.deepEqual(actions(queue.behind(0).events), ['create', 'start', 'die']);
  assert.deepEqual(queue.behind(1), { last: 3, events: [event('start'), event('die')] });
  queue.forget(2);
  assert.deepEqual(actions(queue.behind(0).events), ['die']);
  queue.forget(99);
  assert.deepEqual([queue.size, queue.lastSeq, queue.behind(3)], [0, 3, { last: 3, events: [] }]);
});

test('health checks leave room for what matters, and what is dropped is counted in its place', () => {
  const queue = new EventQueue(() => 5);
  for (let i = 0; i < 2 * MAX_WAITING_EVENTS; i++) queue.push(event('exec_start: true'));
  queue.push(event('die'));
  queue.push(event('exec_die'));
  const all = takeAll(queue);
  const noise = 0.75 * MAX_WAITING_EVENTS;
  assert.equal(all.length, noise + 3);
  const gap = (dropped: number) => ({
    ...{ type: 'events', action: 'gap', id: '', timeNano: 5e6 },
    attributes: { reason: 'overload', dropped: String(dropped) },
  });
  assert.deepEqual(all.slice(noise), [gap(2 * MAX_WAITING_EVENTS - noise), event('die'), gap(1)]);
});

test('a gap that was told of is not changed: the next one is another', () => {
  const queue = new EventQueue(() => 0);
  const fill = () => {
    while (queue.size < MAX_WAITING_EVENTS) queue.push(event('die'));
  };
  fill();
  queue.push(event('stop'));
  queue.push(event('stop'));
  assert.equal(queue.behind(MAX_WAITING_EVENTS).events[0]?.attributes['dropped'], '2');
  queue.push(event('stop'));
  const told = queue.behind(MAX_WAITING_EVENTS).events.map(({ attributes }) => attributes['dropped']);
  assert.deepEqual(told, ['2', '1']);
});

test('however often it is asked, and never told that anything has arrived, it does not grow', () => {
  const queue = new EventQueue(() => 0);
  for (let i = 0; i < MAX_WAITING_EVENTS + 1000; i++) {
    queue.push(event('die'));
    queue.behind(queue.lastSeq - 1);
  }
  assert.ok(queue.size <= MAX_WAITING_EVENTS + 64, String(queue.size));
});

test('large events fill it as many small ones do', () => {
  const queue = new EventQueue(() => 0);
  const attributes = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`label${i}`, 'x'.repeat(250)]));
  for (let i = 0; i < MAX_WAITING_EVENTS; i++) queue.push({ ...event('die'), attributes });
  assert.ok(queue.size < 300, String(queue.size));
  assert.ok(queue.behind(0).events.length < 20);
});
