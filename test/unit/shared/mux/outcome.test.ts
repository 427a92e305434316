import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outcome } from '../../../../shared/mux/outcome.ts';
import { settle } from '../../../support/mux.ts';

test('a value reaches who asked before and who asks after', async () => {
  const outcome = new Outcome<number>();
  const before = outcome.promise;
  assert.equal(outcome.settled, false);
  outcome.resolve(7);
  assert.equal(outcome.settled, true);
  assert.equal(await before, 7);
  assert.equal(await outcome.promise, 7);
});

test('an error too', async () => {
  const outcome = new Outcome<number>();
  const before = outcome.promise;
  outcome.reject(new Error('no'));
  await assert.rejects(before, /no/);
  await assert.rejects(outcome.promise, /no/);
  const late = new Outcome<number>();
  late.reject(new Error('late'));
  await assert.rejects(late.promise, /late/);
});

test('the first to settle wins', async () => {
  const resolved = new Outcome<number>();
  resolved.resolve(1);
  resolved.resolve(2);
  resolved.reject(new Error('no'));
  assert.equal(await resolved.promise, 1);
  const rejected = new Outcome<number>();
  rejected.reject(new Error('first'));
  rejected.resolve(1);
  rejected.reject(new Error('second'));
  await assert.rejects(rejected.promise, /first/);
});

test('undefined is a value', async () => {
  const outcome = new Outcome<undefined>();
  outcome.resolve(undefined);
  assert.equal(outcome.settled, true);
  assert.equal(await outcome.promise, undefined);
});

test('an error that nobody awaits is no unhandled rejection', async () => {
  let unhandled = 0;
  const count = () => {
    unhandled += 1;
  };
  process.on('unhandledRejection', count);
  const asked = new Outcome<number>();
  void asked.promise;
  asked.reject(new Error('nobody cares'));
  const late = new Outcome<number>();
  late.reject(new Error('nobody cares'));
  void late.promise;
  await settle(5);
  process.off('unhandledRejection', count);
  assert.equal(unhandled, 0);
});
