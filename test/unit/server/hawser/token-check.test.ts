/** The check of a token: constant work, rates before it, and nothing that outlives a revocation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PasswordHasher } from '../../../../server/access/password-hash.ts';
import { HASHES, TokenCheck } from '../../../../server/hawser/token-check.ts';
import { ADMIN, openEdge } from './fixture.ts';

const unknown = (n: number) => `${String(n).padStart(8, '0')}${'z'.repeat(35)}`;

test('an unknown token takes one hash, as a known one does, and a proven one none', async (t) => {
  const { tokens, check, hashes } = await openEdge(t);
  const { token, id } = await tokens.create({ name: 'nas' }, ADMIN);
  hashes.length = 0;
  await assert.rejects(check.check(unknown(1), '192.0.2.1'), { code: 'TOKEN_INVALID' });
  await assert.rejects(check.check('no token at all', '192.0.2.1'), { code: 'TOKEN_INVALID' });
  await assert.rejects(check.check(`${token}x`, '192.0.2.1'), { code: 'TOKEN_INVALID' });
  assert.equal(hashes.length, 1);
  assert.equal((await check.check(token, '192.0.2.1')).id, id);
  assert.equal(hashes.length, 2);
  assert.equal((await check.check(token, '192.0.2.1')).id, id);
  assert.equal(hashes.length, 2);
  await tokens.revoke(id, ADMIN);
  await assert.rejects(check.check(token, '192.0.2.1'), { code: 'TOKEN_INVALID' });
});

test('a token that fails again and again waits longer, and others from its address do not', async (t) => {
  const { tokens, check, hashes } = await openEdge(t);
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  for (let n = 0; n < 4; n++) await assert.rejects(check.check(unknown(1), '192.0.2.1'), { code: 'TOKEN_INVALID' });
  hashes.length = 0;
  await assert.rejects(check.check(unknown(1), '192.0.2.1'), { code: 'RATE_LIMITED' });
  assert.equal(hashes.length, 0);
  await check.check(token, '192.0.2.1');
  await assert.rejects(check.check(unknown(1), '192.0.2.2'), { code: 'TOKEN_INVALID' });
});

test('a flood of new tokens is limited by address and in all, and known ones are let in', async (t) => {
  const { tokens, check, hashes, clock } = await openEdge(t);
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  await check.check(token, '192.0.2.1');
  hashes.length = 0;
  const flood = async (address: string, count: number, from: number) => {
    for (let n = 0; n < count; n++) await check.check(unknown(from + n), address).catch(() => undefined);
  };
  await flood('192.0.2.1', 100, 0);
  assert.equal(hashes.length, 20);
  for (let n = 0; n < 10; n++) await flood(`198.51.100.${n}`, 60, 1_000 * (n + 1));
  assert.ok(hashes.length <= 25, String(hashes.length));
  await check.check(token, '192.0.2.1');
  clock.advance(60_000);
  await assert.rejects(check.check(unknown(99_999), '192.0.2.9'), { code: 'TOKEN_INVALID' });
});

test('tokens that are made up, of whatever form, leave the hashes to agents that all come back at once', async (t) => {
  const { tokens, check, store, clock } = await openEdge(t);
  const made = await Promise.all(Array.from({ length: 30 }, (_, n) => tokens.create({ name: `h${n}` }, ADMIN)));
  const waiting: (() => void)[] = [];
  const hasher = new PasswordHasher(async (_password, _salt, _parameters, bytes) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    return Buffer.alloc(bytes);
  }, HASHES);
  const slow = new TokenCheck({ store, clock, hasher, log: { warn: () => undefined } });
  const results = (tokens: readonly string[], net: string) =>
    Promise.allSettled(tokens.map((token, n) => slow.check(token, `${net}.${n % 200}`)));
  const flood = results(
    Array.from({ length: 400 }, (_, n) => (n % 2 === 0 ? unknown(n) : `no token ${n}`)),
    '198.51.100',
  );
  const back = results(
    made.map(({ token }) => token),
    '192.0.2',
  );
  let atOnce = 0;
  const all = Promise.all([flood, back]).then(() => 'over');
  while ((await Promise.race([all, new Promise((resolve) => setTimeout(resolve, 1))])) !== 'over') {
    atOnce = Math.max(atOnce, waiting.length);
    waiting.shift()?.();
  }
  const codes = (settled: readonly PromiseSettledResult<unknown>[]) =>
    new Set(settled.map((one) => one.status === 'rejected' && one.reason.code));
  assert.deepEqual(codes(await flood), new Set(['RATE_LIMITED', 'TOKEN_INVALID']));
  // They were looked at: that none fits is for the hash that this test makes.
  assert.deepEqual(codes(await back), new Set(['TOKEN_INVALID']));
  assert.equal(atOnce, 1);
  await check.check(made[0]?.token ?? '', '192.0.2.1');
});
