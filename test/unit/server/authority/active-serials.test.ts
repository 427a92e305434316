import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ActiveSerials } from '../../../../server/authority/active-serials.ts';
import { isFairleadError } from '../../../../shared/errors.ts';

test('a serial is on the list from add to remove, in whatever form it is written', () => {
  const active = new ActiveSerials([{ serial: '0A1', hostId: 'one' }]);
  assert.equal(active.hostOf('A1'), 'one');
  active.add('00b2', 'two');
  assert.equal(active.size, 2);
  for (const form of ['B2', 'b2', '0B2', '00b2']) assert.equal(active.hostOf(form), 'two', form);
  active.remove('0b2');
  active.remove('0b2');
  assert.equal(active.has('B2'), false);
  assert.equal(active.has('A1'), true);
});

test('what is no serial is on no list', () => {
  const active = new ActiveSerials();
  for (const text of ['', '-01', 'x', '__proto__', 'constructor']) assert.equal(active.has(text), false, text);
  assert.throws(
    () => active.add('x', 'one'),
    (error) => isFairleadError(error, 'VALIDATION'),
  );
});
