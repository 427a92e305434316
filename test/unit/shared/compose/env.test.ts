/** Variables of stacks: which may not be set, and that their values do not show. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkEnv, masker } from '../../../../shared/compose/env.ts';

test('names that would steer Compose itself are refused, and no refusal shows a value', () => {
  checkEnv({ TAG: '1', COMPOSE_PROFILES: 'a', PATHS: 'x', HOME_URL: 'y', DOCKERISH: 'z', A: '' });
  for (const name of [
    'COMPOSE_FILE',
    'COMPOSE_PROJECT_NAME',
    'DOCKER_HOST',
    'LD_PRELOAD',
    'PATH',
    'HOME',
    'PYTHONPATH',
  ]) {
    assert.throws(
      () => checkEnv({ [name]: 'hunter2' }),
      (error: Error) => {
        assert.match(error.message, new RegExp(`^the variable ${name} cannot be set`));
        return !error.message.includes('hunter2');
      },
    );
  }
  assert.throws(() => checkEnv({ A: 'a\0b' }), /NUL/);
  assert.throws(() => checkEnv({ A: '\nb' }), /line break/);
  assert.throws(() => checkEnv({ A: 'x'.repeat(32_000), B: 'x'.repeat(32_000), C: 'x'.repeat(3_000) }), /64 KiB/);
});

test('values are masked in whatever form programs print them, the longest first', () => {
  const mask = masker({ A: 'hunter2', B: 'hunter2-long', C: 'a "b" c', D: 'first line\nsecond line', E: 'abc' });
  assert.equal(mask('x hunter2-long y hunter2'), 'x [redacted] y [redacted]');
  assert.equal(mask('invalid value "a \\"b\\" c" or a "b" c'), 'invalid value "[redacted]" or [redacted]');
  assert.equal(mask('second line, then first line'), '[redacted], then [redacted]');
  assert.equal(mask('abc'), 'abc', 'what is so short stands in too much else');
  assert.equal(masker({})('as it is'), 'as it is');
});
