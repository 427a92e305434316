/** Places for each host and in all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slots } from '../../../../server/routes/slots.ts';
import { isFairleadError } from '../../../../shared/errors.ts';

const isOverloaded = (error: unknown) => isFairleadError(error, 'OVERLOADED');

test('a host has its share, all have theirs, and what is given back is given back once', () => {
  const slots = new Slots('tests', { ofHost: 2, inAll: 3 });
  const first = slots.take('a');
  slots.take('a');
  assert.throws(() => slots.take('a'), isOverloaded);
  slots.take('b');
  assert.throws(() => slots.take('c'), isOverloaded);
  first();
  first();
  slots.take('c');
  assert.throws(() => slots.take('a'), isOverloaded);
});
