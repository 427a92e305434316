/** Checks of a doctor: their order of badness, and how they read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fail, formatChecks, named, ok, verdict, warn, worstOf } from '../../../../shared/doctor/check.ts';
import { clockCheck } from '../../../../shared/doctor/clocks.ts';
import { diskCheck } from '../../../../shared/doctor/disk.ts';

const CHECKS = [ok('a', 'fine'), warn('bcd', 'so so', 'look'), fail('e', 'broken', 'mend it')];

test('the worst one counts', () => {
  assert.equal(worstOf([]), 'ok');
  assert.deepEqual(
    [1, 2, 3].map((some) => worstOf(CHECKS.slice(0, some))),
    ['ok', 'warn', 'fail'],
  );
});

test('each is a line, with its advice below', () => {
  assert.equal(
    formatChecks(CHECKS),
    [
      'ok    a    fine',
      'warn  bcd  so so',
      '           -> look',
      'fail  e    broken',
      '           -> mend it',
      '',
    ].join('\n'),
  );
  assert.equal(formatChecks([warn('a', 'says \u001b[2J', 'x\ny')]), 'warn  a  says �[2J\n         -> x�y\n');
  assert.equal(verdict(CHECKS), '3 checks: 1 failed, 1 warning\n');
  assert.equal(verdict([ok('a', 'fine')]), '1 check, all well\n');
});

test('of many names some are said, and the others counted', () => {
  assert.equal(named(['a', 'b']), 'a, b');
  assert.match(named(Array.from({ length: 14 }, (_, i) => `h${i}`)), /^h0, .*, h9 and 4 more$/);
});

test('clocks may differ by minutes, and not by more than certificates are dated back', () => {
  const levels = [0, 119_000, -119_000, 121_000, -290_000, 301_000, -301_000].map(
    (ms) => clockCheck('clock', ms).level,
  );
  assert.deepEqual(levels, ['ok', 'ok', 'ok', 'warn', 'warn', 'fail', 'fail']);
  assert.match(clockCheck('clock', -3_600_000).summary, /60 min behind/);
});

test('a disk is short below 1 GiB, full below 64 MiB, and a path that is none is told', async () => {
  const of = async (freeMib: number) => {
    const room = async () => ({ freeBytes: freeMib * 1024 * 1024, totalBytes: 2 ** 40 });
    return (await diskCheck('disk', 'the data', '/data', { room })).level;
  };
  assert.deepEqual([await of(2_000), await of(500), await of(10)], ['ok', 'warn', 'fail']);
  assert.equal((await diskCheck('disk', 'nothing', '/no/such/path')).level, 'fail');
});
