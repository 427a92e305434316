/** Docker's events as they leave the host: whatever Docker, or who may set a label, makes of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { toHostEvent } from '../../../../shared/docker/host-event.ts';
import { HostEvent } from '../../../../shared/messages/host-events.ts';
import { fits } from '../../../../shared/validate.ts';

const DIE = {
  status: 'die',
  id: 'abc',
  from: 'busybox',
  Type: 'container',
  Action: 'die',
  Actor: { ID: 'abc', Attributes: { exitCode: '0', image: 'busybox', name: 'web' } },
  scope: 'local',
  time: 1_700_000_000,
  timeNano: 1_700_000_000_123_456_800,
};

test('an event keeps its own words', () => {
  assert.deepEqual(toHostEvent(DIE), {
    ...{ type: 'container', action: 'die', id: 'abc', timeNano: DIE.timeNano },
    attributes: { name: 'web', image: 'busybox', exitCode: '0' },
  });
  const { Actor: _, Action: __, timeNano: ___, ...old } = DIE;
  assert.deepEqual(toHostEvent(old), { type: 'container', action: 'die', id: 'abc', attributes: {}, timeNano: 1.7e18 });
});

test('labels without end are cut, and what counts comes first', () => {
  const labels = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`label${i}`, 'x'.repeat(1000)]));
  const Attributes = { ...labels, ['n'.repeat(200)]: 'long name', name: 'web', exitCode: 137 };
  const event = toHostEvent({ ...DIE, Action: `exec_create: ${'a'.repeat(999)}`, Actor: { ID: 'abc', Attributes } });
  assert.ok(event && fits(HostEvent, event));
  assert.equal(Object.keys(event.attributes).length, 32);
  assert.deepEqual([event.attributes['name'], event.attributes['exitCode']], ['web', '137']);
  assert.equal(event.attributes['label0']?.length, 256);
});

test('what is none is passed by', () => {
  for (const wrong of [{}, { ...DIE, Type: 7 }, { ...DIE, Type: 'a b' }, { ...DIE, Action: '', status: '' }]) {
    assert.equal(toHostEvent(wrong), undefined);
  }
  for (const timeNano of [-1, 1e30, Number.NaN]) assert.equal(toHostEvent({ ...DIE, timeNano }), undefined);
  assert.equal(toHostEvent({ ...DIE, timeNano: '1', time: null }), undefined);
});

test('whatever comes, what leaves fits its schema', () => {
  const anything = fc.anything({ withNullPrototype: false });
  const attributes = fc.dictionary(fc.string({ unit: 'binary', maxLength: 200 }), anything, { maxKeys: 50 });
  const sent = fc.record({
    Type: fc.oneof(fc.constant('container'), anything),
    Action: fc.oneof(fc.string({ unit: 'binary', maxLength: 600 }), anything),
    Actor: fc.oneof(
      fc.record({ ID: fc.oneof(fc.string({ unit: 'binary' }), anything), Attributes: attributes }),
      anything,
    ),
    timeNano: fc.oneof(fc.double(), anything),
  });
  fc.assert(
    fc.property(sent, (value) => {
      const event = toHostEvent(value);
      assert.ok(event === undefined || fits(HostEvent, event));
    }),
    { numRuns: 100 },
  );
});
