/** Rules for host names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkHostName, isHostId, nameFromHostname, numberedName } from '../../../../server/store/host-names.ts';

test('a host name begins with a letter or digit and holds nothing that a path or shell minds', () => {
  for (const good of ['a', '9', 'Web-1', 'db_1.example.com', 'x'.repeat(63)]) checkHostName(good);
  const bad = ['', '-a', '.', '..', '.a', '_a', 'a b', 'a/b', 'a%2f', 'ä', 'a\n', 'x'.repeat(64), '<b>'];
  for (const name of bad) assert.throws(() => checkHostName(name), { code: 'VALIDATION' }, JSON.stringify(name));
});

test('a name never looks like an id', () => {
  const id = 'ABCDEF01-1111-4111-8111-111111111111';
  assert.ok(isHostId(id));
  assert.throws(() => checkHostName(id), { code: 'VALIDATION', message: /form of a host id/ });
});

test('every hostname gives a valid name', () => {
  const cases = {
    web1: 'web1',
    'DESKTOP-ABC': 'desktop-abc',
    'my host (old)': 'my-host-old',
    '..': 'host',
    '': 'host',
    šdmin: 'dmin',
    'a.b_c': 'a.b_c',
    [`${'x'.repeat(70)}`]: 'x'.repeat(63),
    '11111111-1111-4111-8111-111111111111': 'host-11111111-1111-4111-8111-111111111111',
  };
  for (const [hostname, name] of Object.entries(cases)) {
    assert.equal(nameFromHostname(hostname), name);
    checkHostName(nameFromHostname(hostname));
  }
});

test('numbers make room for themselves', () => {
  assert.equal(numberedName('web', 1), 'web');
  assert.equal(numberedName('web', 2), 'web-2');
  assert.equal(numberedName('x'.repeat(63), 12), `${'x'.repeat(60)}-12`);
});
