/** The token by which an administrator gets in first, and after the last one was lost. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { sql } from 'kysely';
import { ACTOR, openTokens } from './open-tokens.ts';

test('the first start makes one admin token in a private file, and later ones make none', async (t) => {
  const { tokens, dataDir } = await openTokens(t);
  assert.equal(await tokens.ensureAdminToken(), true);
  const file = join(dataDir, 'admin-token');
  assert.equal(tokens.adminTokenFile, file);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const token = (await readFile(file, 'utf8')).trim();
  const { tokenId, role, name } = await tokens.authenticate(token);
  assert.deepEqual([role, name], ['admin', 'admin']);
  await rm(file);
  assert.equal(await tokens.ensureAdminToken(), false);
  await tokens.revoke(tokenId, ACTOR);
  assert.equal(await tokens.ensureAdminToken(), false);
});

test('a reset replaces the admin token alone', async (t) => {
  const { tokens } = await openTokens(t);
  await tokens.ensureAdminToken();
  const old = (await readFile(tokens.adminTokenFile, 'utf8')).trim();
  const { tokenId } = await tokens.authenticate(old);
  const other = await tokens.create({ name: 'other', role: 'admin' }, ACTOR);
  const heard: string[] = [];
  tokens.onRevoked((id) => void heard.push(id));
  await rm(tokens.adminTokenFile);
  await tokens.resetAdminToken();
  assert.deepEqual(heard, [tokenId]);
  await assert.rejects(tokens.authenticate(old), { code: 'UNAUTHORIZED' });
  await tokens.authenticate(other.token);
  const made = (await readFile(tokens.adminTokenFile, 'utf8')).trim();
  assert.equal((await tokens.authenticate(made)).role, 'admin');
});

test('a first admin token that the store cannot keep leaves no file', async (t) => {
  const { tokens, store, dataDir } = await openTokens(t);
  await sql`pragma query_only = on`.execute(store.db);
  await assert.rejects(tokens.ensureAdminToken(), { code: 'STORE_UNAVAILABLE' });
  assert.equal((await readdir(dataDir)).includes('admin-token'), false);
  await sql`pragma query_only = off`.execute(store.db);
  assert.equal(await tokens.ensureAdminToken(), true);
});

test('a reset finds the admin token again that was rotated, and ends all before it', async (t) => {
  const { tokens } = await openTokens(t);
  await tokens.ensureAdminToken();
  const first = await tokens.authenticate((await readFile(tokens.adminTokenFile, 'utf8')).trim());
  const second = await tokens.rotate(first.tokenId, 3600, ACTOR);
  const third = await tokens.rotate(second.id, 3600, ACTOR);
  const heard: string[] = [];
  tokens.onRevoked((id) => void heard.push(id));
  await tokens.resetAdminToken();
  assert.deepEqual(heard, [third.id, second.id, first.tokenId]);
  for (const { token } of [second, third]) await assert.rejects(tokens.authenticate(token), { code: 'UNAUTHORIZED' });
});
