import assert from 'node:assert/strict';
import { test } from 'node:test';
import Type from 'typebox';
import { FairleadError } from '../../../shared/errors.ts';
import { fits, validate } from '../../../shared/validate.ts';

const schema = Type.Object(
  { name: Type.String({ maxLength: 4 }), nested: Type.Optional(Type.Object({ port: Type.Integer() })) },
  { additionalProperties: false },
);

test('a value that fits is returned as it is', () => {
  const value = { name: 'abcd', nested: { port: 1 } };
  assert.equal(validate(schema, value, 'the thing'), value);
  assert.equal(fits(schema, value), true);
});

test('the error names the field and what is wrong, and says what was validated', () => {
  assert.throws(
    () => validate(schema, { name: 'abcd', nested: { port: 'x' } }, 'the thing'),
    (error) =>
      error instanceof FairleadError &&
      error.code === 'VALIDATION' &&
      /^the thing is not valid at \/nested\/port: ./.test(error.message),
  );
});

test('the error never shows the value', () => {
  for (const value of [{ name: 'hunter2' }, 'hunter2', { name: ['hunter2'] }]) {
    assert.equal(fits(schema, value), false);
    assert.throws(
      () => validate(schema, value, 'the thing'),
      (error) => error instanceof Error && !error.message.includes('hunter2'),
    );
  }
});

test('the code can be chosen', () => {
  assert.throws(() => validate(schema, {}, 'a message', 'MESSAGE_INVALID'), { code: 'MESSAGE_INVALID' });
});

test('unknown fields, missing fields and values of other types do not fit', () => {
  for (const value of [{ name: 'a', more: 1 }, {}, [], null, undefined, 1, 'a', new Map([['name', 'a']])]) {
    assert.equal(fits(schema, value), false);
  }
});

test('a __proto__ key is an unknown field', () => {
  assert.equal(fits(schema, JSON.parse('{"name":"a","__proto__":{"nested":{"port":1}}}')), false);
});
