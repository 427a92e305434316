/** Passwords: which are taken, how they are hashed, and that hashing is bounded. */
import assert from 'node:assert/strict';
import { argon2Sync } from 'node:crypto';
import { test } from 'node:test';
import { FailureDelays, MAX_DELAY_MS } from '../../../../server/access/failure-delays.ts';
import { PasswordHasher } from '../../../../server/access/password-hash.ts';
import { checkPassword } from '../../../../server/access/password-rules.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const HASH = /^\$argon2id\$v=19\$m=65536,t=3,p=1\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})$/;

test('a hash is argon2id with its parameters and a salt of its own, and fits its password alone', async () => {
  const hasher = new PasswordHasher();
  const hash = await hasher.hash('correct horse battery');
  const [, salt = '', tag = ''] = HASH.exec(hash) ?? [];
  const again = argon2Sync('argon2id', {
    message: 'correct horse battery',
    nonce: Buffer.from(salt, 'base64'),
    memory: 65_536,
    passes: 3,
    parallelism: 1,
    tagLength: 32,
  });
  assert.equal(again.toString('base64').replace('=', ''), tag);
  assert.equal(await hasher.fits('correct horse battery', hash), true);
  assert.equal(await hasher.fits('correct horse batterx', hash), false);
});

test('however a keyboard composes a letter, the password is the same', async () => {
  const hasher = new PasswordHasher(async (password, salt) =>
    Buffer.concat([password, salt, Buffer.alloc(32)]).subarray(0, 32),
  );
  assert.equal(await hasher.fits('Zürich-Zürich', await hasher.hash('Zürich-Zürich'.normalize('NFD'))), true);
  assert.notEqual(await hasher.hash('same same same'), await hasher.hash('same same same'));
});

test('a damaged hash, or one that asks for too much, is refused before any work', async () => {
  let work = 0;
  const hasher = new PasswordHasher(async (_password, _salt, _parameters, bytes) => {
    work++;
    return Buffer.alloc(bytes);
  });
  const parts = `${'A'.repeat(22)}$${'A'.repeat(43)}`;
  for (const stored of [
    '',
    'x',
    `$argon2id$v=19$m=9999999,t=3,p=1$${parts}`,
    `$argon2id$v=19$m=65536,t=99,p=1$${parts}`,
  ]) {
    await assert.rejects(hasher.fits('x', stored), { code: 'INTERNAL', message: /user passwd/ });
  }
  assert.equal(work, 0);
});

test('two hashes are made at a time, a few wait, and the rest is told to come back', async () => {
  const running: (() => void)[] = [];
  let most = 0;
  let now = 0;
  const hasher = new PasswordHasher(async (_password, _salt, _parameters, bytes) => {
    most = Math.max(most, ++now);
    await new Promise<void>((resolve) => running.push(resolve));
    now--;
    return Buffer.alloc(bytes);
  });
  const asked = Array.from({ length: 40 }, () => hasher.fits('x', undefined));
  const results = Promise.allSettled(asked);
  while (running.length > 0) {
    running.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const refused = (await results).filter(({ status }) => status === 'rejected');
  assert.deepEqual([most, refused.length], [2, 40 - 2 - 32]);
  for (const one of refused) assert.equal((one as PromiseRejectedResult).reason.code, 'OVERLOADED');
});

test('long passwords of any kind are taken; short, patterned and well-known ones are not, by reason', () => {
  for (const good of ['correct horse battery', 'æøå-日本語-密码很长的', 'annoying little thing', 'x7#kx7#kx7#kqz']) {
    checkPassword(good, 'ann');
  }
  const bad: [string, RegExp][] = [
    ['elevenchars', /at least 12/],
    ['€'.repeat(2) + 'abcde'.repeat(300), /at most 1024 bytes/],
    ['abababababababab', /different/],
    ['line\nbreak and more', /control/],
    ['abcdefghijklmn', /row of keys/],
    ['mnbvcxzlkjhgfd', /row of keys/],
    ['098765432109', /row of keys/],
    ['Password1234!', /tried first/],
    ['!!fairlead2026', /tried first/],
    ['annannannann', /different|name/],
    ['annabella-1999', /name/],
  ];
  for (const [password, why] of bad) {
    const user = password.startsWith('annabella') ? 'annabella' : 'ann';
    assert.throws(
      () => checkPassword(password, user),
      (error: Error & { code?: string }) => {
        assert.match(error.message, why, password);
        assert.ok(!error.message.includes(password));
        return error.code === 'VALIDATION';
      },
    );
  }
});

test('waits double up to a quarter of an hour, are forgotten in time, and are bounded in number', () => {
  const clock = new FakeClock();
  const delays = new FailureDelays({ clock, free: 2 });
  const begun = Array.from({ length: 14 }, () => delays.fail('a'));
  assert.deepEqual(begun.slice(0, 5), [0, 0, 1000, 2000, 4000]);
  assert.equal(begun.at(-1), MAX_DELAY_MS);
  assert.equal(delays.waitMs('a'), MAX_DELAY_MS);
  clock.advance(60 * 60_000);
  assert.equal(delays.fail('a'), 0);
  for (let index = 0; index < 10_050; index++) delays.fail(`key ${index}`);
  assert.equal(delays.size, 10_000);
});
