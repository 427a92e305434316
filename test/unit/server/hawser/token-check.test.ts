/** The check of a token: constant work, rates before it, and nothing that outlives a revocation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ADMIN, openEdge } from './fixture.ts';

const unknown = (n: number) => `${String(n).padStart(8, '0')}${'z'.repeat(35)}`;

test('an unknown token takes one hash, as a known one does, and a proven one none', async (t) => {
  const { tokens, check, hashes } = await openEdge(t);
  const { token, id } = await tokens.create({ name: 'nas' }, ADMIN);
  hashes.length = 0;
  await assert.rejects(check.check(unknown(1), '192.0.2.1'), { code: 'TOKEN_INVALID' });
  await assert.rejects(check.check('no token at all', '192.0.2.1'), { code: 'TOKEN_INVALID' });
  assert.equal(hashes.length, 2);
  assert.equal((await check.check(token, '192.0.2.1')).id, id);
  assert.equal(hashes.length, 3);
  assert.equal((await check.check(token, '192.0.2.1')).id, id);
  assert.equal(hashes.length, 3);
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
  assert.equal(hashes.length, 59);
  for (let n = 0; n < 10; n++) await flood(`198.51.100.${n}`, 60, 1_000 * (n + 1));
  assert.ok(hashes.length <= 200, String(hashes.length));
  await check.check(token, '192.0.2.1');
  clock.advance(60_000);
  await assert.rejects(check.check(unknown(99_999), '192.0.2.9'), { code: 'TOKEN_INVALID' });
});
