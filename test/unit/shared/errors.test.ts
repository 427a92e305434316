import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS, FairleadError, fromWireError, isFairleadError, toWireError } from '../../../shared/errors.ts';

test('every code has an HTTP error status and a title', () => {
  for (const [code, { status, title }] of Object.entries(ERRORS)) {
    assert.match(code, /^[A-Z][A-Z_]+$/);
    assert.ok(status >= 400 && status < 600, `${code} has status ${status}`);
    assert.ok(title.length > 0);
  }
});

test('who is turned away may have come with a token, a certificate or a password', () => {
  for (const { title } of [ERRORS.UNAUTHORIZED, ERRORS.FORBIDDEN]) assert.doesNotMatch(title, /API token/);
});

test('an error crosses the wire with its code and text', () => {
  const wire = toWireError(new FairleadError('HOST_OFFLINE', 'the host is not connected'));
  assert.deepEqual(wire, { code: 'HOST_OFFLINE', message: 'the host is not connected' });
  const back = fromWireError(wire);
  assert.equal(back.code, 'HOST_OFFLINE');
  assert.equal(back.message, 'the host is not connected');
});

test('what is not a FairleadError crosses the wire without its text', () => {
  for (const thrown of [new Error('password=hunter2'), 'password=hunter2', undefined, { code: 'TIMEOUT' }]) {
    const wire = toWireError(thrown);
    assert.equal(wire.code, 'INTERNAL');
    assert.doesNotMatch(wire.message, /hunter2/);
  }
});

test('a cause does not cross the wire', () => {
  const wire = toWireError(new FairleadError('TIMEOUT', 'no answer', { cause: new Error('secret') }));
  assert.deepEqual(wire, { code: 'TIMEOUT', message: 'no answer' });
});

test('a code of a later version becomes INTERNAL and keeps its text', () => {
  const error = fromWireError({ code: 'FROM_THE_FUTURE', message: 'something new' });
  assert.equal(error.code, 'INTERNAL');
  assert.equal(error.message, 'FROM_THE_FUTURE: something new');
});

test('names on the prototype of the table are not codes', () => {
  for (const code of ['constructor', '__proto__', 'toString']) {
    assert.equal(fromWireError({ code, message: 'x' }).code, 'INTERNAL');
  }
});

test('isFairleadError tells codes apart', () => {
  const error = new FairleadError('TIMEOUT', 'no answer', { retryAfterSeconds: 3 });
  assert.equal(error.retryAfterSeconds, 3);
  assert.equal(isFairleadError(error), true);
  assert.equal(isFairleadError(error, 'TIMEOUT'), true);
  assert.equal(isFairleadError(error, 'CONFLICT'), false);
  assert.equal(isFairleadError(new Error('no')), false);
  assert.equal(isFairleadError(undefined), false);
});

test('the cause is kept for the log, and absent when there is none', () => {
  const cause = new Error('inner');
  assert.equal(new FairleadError('INTERNAL', 'outer', { cause }).cause, cause);
  assert.equal('cause' in new FairleadError('INTERNAL', 'outer'), false);
});
