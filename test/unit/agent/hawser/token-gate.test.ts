import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TokenGate } from '../../../../agent/hawser/token-gate.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const TOKEN = 'the-right-token-0123456789';
const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

test('lets in who has the token, and nobody else', () => {
  const gate = new TokenGate(TOKEN, new FakeClock());
  gate.check(TOKEN, '192.0.2.1');
  for (const wrong of [undefined, '', `${TOKEN} `, TOKEN.slice(1), TOKEN.toUpperCase()]) {
    assert.throws(() => gate.check(wrong, '192.0.2.1'), coded('TOKEN_INVALID'), String(wrong));
  }
  gate.check(TOKEN, '192.0.2.1');
});

test('keeps out an address that guesses, for a while, and no other', () => {
  const clock = new FakeClock();
  const gate = new TokenGate(TOKEN, clock);
  for (let n = 0; n < 10; n++) assert.throws(() => gate.check('wrong', '192.0.2.1'), coded('TOKEN_INVALID'));
  assert.throws(() => gate.check('wrong', '192.0.2.1'), coded('RATE_LIMITED'));
  assert.throws(() => gate.check(TOKEN, '::ffff:192.0.2.1'), coded('RATE_LIMITED'), 'whatever the token is');
  gate.check(TOKEN, '192.0.2.2');
  clock.advance(6_100);
  gate.check(TOKEN, '192.0.2.1');
  assert.throws(() => gate.check('wrong', '192.0.2.1'), coded('TOKEN_INVALID'));
  assert.throws(() => gate.check('wrong', '192.0.2.1'), coded('RATE_LIMITED'));
});

test('a good token costs nothing, and none is no guess', () => {
  const gate = new TokenGate(TOKEN, new FakeClock());
  assert.throws(() => gate.check('wrong', '192.0.2.1'), coded('TOKEN_INVALID'));
  for (let n = 0; n < 100; n++) {
    gate.check(TOKEN, '192.0.2.1');
    assert.throws(() => gate.check(undefined, '192.0.2.1'), coded('TOKEN_INVALID'));
  }
});

test('remembers a bounded number of addresses, those that failed last', () => {
  const gate = new TokenGate(TOKEN, new FakeClock());
  const fail = (address: string) => assert.throws(() => gate.check('wrong', address));
  for (let n = 0; n < 11; n++) fail('192.0.2.1');
  for (let n = 0; n < 4096; n++) fail(`10.${n >> 8}.${n & 255}.1`);
  gate.check(TOKEN, '192.0.2.1');
});
