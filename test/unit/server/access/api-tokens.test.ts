/** API tokens: who gets in, until when, and how an administrator gets in first. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { sql } from 'kysely';
import { formatToken, parseToken } from '../../../../certs/enrollment-token.ts';
import { ApiTokens } from '../../../../server/access/api-tokens.ts';
import { allows } from '../../../../server/access/roles.ts';
import { fitsHash, newSecret } from '../../../../server/access/secret.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { openTestStore, START } from '../store/fixture.ts';

const PIN = `sha256:${'ab'.repeat(32)}`;
const ACTOR = { name: 'ann', address: '192.0.2.1' };
const HOUR_MS = 3_600_000;

async function openTokens(t: TestContext) {
  const opened = await openTestStore(t);
  const { store, clock } = opened;
  const logged: unknown[] = [];
  const log = { error: (line: unknown) => void logged.push(line), warn: (line: unknown) => void logged.push(line) };
  const audit = new Audit({ store, clock, log });
  return { ...opened, logged, audit, tokens: new ApiTokens({ store, audit, clock, log, caFingerprint: PIN }) };
}

test('roles include those below them', () => {
  const roles = ['viewer', 'operator', 'admin'] as const;
  const table = roles.map((role) => roles.map((needed) => allows(role, needed)));
  assert.deepEqual(table, [
    [true, false, false],
    [true, true, false],
    [true, true, true],
  ]);
  assert.equal(allows('root' as 'admin', 'viewer'), false);
});

test('a secret fits its own hash and no other, nor none', () => {
  const a = newSecret();
  const b = newSecret();
  assert.equal(fitsHash(a.secret, a.hash), true);
  assert.equal(fitsHash(a.secret, Buffer.from(a.hash)), true);
  assert.equal(fitsHash(b.secret, a.hash), false);
  assert.equal(fitsHash(a.secret, undefined), false);
  assert.equal(fitsHash(a.secret, a.hash.subarray(1)), false);
  assert.match(a.id, /^[0-9a-f]{20}$/);
  assert.notEqual(a.id, b.id);
});

test('a token opens the API in its role and carries the pin of the CA', async (t) => {
  const { tokens } = await openTokens(t);
  const made = await tokens.create({ name: 'ci', role: 'operator', expiresAt: START + HOUR_MS }, ACTOR);
  assert.equal(parseToken('fla1', made.token).pin, PIN);
  assert.deepEqual(await tokens.authenticate(made.token), {
    tokenId: made.id,
    name: 'ci',
    role: 'operator',
    scope: undefined,
    expiresAt: START + HOUR_MS,
  });
});

test('whatever is wrong with a token, the answer is the same', async (t) => {
  const { tokens, clock } = await openTokens(t);
  const good = await tokens.create({ name: 'good', role: 'viewer' }, ACTOR);
  const revoked = await tokens.create({ name: 'revoked', role: 'viewer' }, ACTOR);
  const expiring = await tokens.create({ name: 'expiring', role: 'viewer', expiresAt: START + 1 }, ACTOR);
  await tokens.revoke(revoked.id, ACTOR);
  clock.pass(1);
  const { id, secret } = parseToken('fla1', good.token);
  const other = newSecret();
  const wrong = [
    '',
    'nonsense',
    good.token.slice(0, -3),
    `x${good.token}`,
    revoked.token,
    expiring.token,
    formatToken('fla1', { pin: PIN, id, secret: other.secret }),
    formatToken('fla1', { pin: PIN, id: other.id, secret }),
    formatToken('fle1', { pin: PIN, id, secret }),
  ];
  for (const token of wrong) {
    await assert.rejects(tokens.authenticate(token), {
      code: 'UNAUTHORIZED',
      message: 'the API token is unknown, expired or revoked',
    });
  }
  await tokens.authenticate(good.token);
});

test('the store and the audit log hold no secret, and lists show none', async (t) => {
  const { tokens, audit, dataDir, store } = await openTokens(t);
  const { token, id } = await tokens.create({ name: 'ci', role: 'admin' }, ACTOR);
  const { secret } = parseToken('fla1', token);
  await tokens.authenticate(token);
  const { items } = await tokens.list({});
  assert.deepEqual(Object.keys(items[0] ?? {}).sort(), [
    'createdAt',
    'createdBy',
    'expiresAt',
    'id',
    'lastUsedAddress',
    'lastUsedAt',
    'name',
    'replacedBy',
    'revokedAt',
    'role',
    'scope',
  ]);
  const rows = await audit.list({});
  assert.deepEqual(
    rows.items.map(({ action, actor, address, target }) => ({ action, actor, address, target })),
    [{ action: 'api-token.create', actor: 'ann', address: '192.0.2.1', target: id }],
  );
  await store.close();
  for (const file of await readdir(dataDir)) {
    const bytes = await readFile(join(dataDir, file));
    assert.equal(bytes.includes(secret) || bytes.includes(token), false, file);
  }
});

test('the time of last use is written at most once a minute', async (t) => {
  const { tokens, clock } = await openTokens(t);
  const { token } = await tokens.create({ name: 'ci', role: 'viewer' }, ACTOR);
  const lastUsed = async () => (await tokens.list({})).items[0]?.lastUsedAt;
  assert.equal(await lastUsed(), undefined);
  await tokens.authenticate(token);
  assert.equal(await lastUsed(), START);
  clock.pass(59_999);
  await tokens.authenticate(token);
  assert.equal(await lastUsed(), START);
  clock.pass(1);
  await tokens.authenticate(token);
  assert.equal(await lastUsed(), START + 60_000);
});

test('tokens still open a store that cannot be written, and the log says so', async (t) => {
  const { tokens, store, logged } = await openTokens(t);
  const { token } = await tokens.create({ name: 'ci', role: 'viewer' }, ACTOR);
  await sql`pragma query_only = on`.execute(store.db);
  assert.equal((await tokens.authenticate(token)).name, 'ci');
  assert.equal(logged.length, 1);
});

test('a revocation is announced once, after it stands, to every listener', async (t) => {
  const { tokens, logged, audit } = await openTokens(t);
  const { id, token } = await tokens.create({ name: 'ci', role: 'viewer' }, ACTOR);
  const heard: string[] = [];
  tokens.onRevoked(() => {
    throw new Error('a listener that fails');
  });
  const stop = tokens.onRevoked((tokenId) => void heard.push(tokenId));
  await tokens.revoke(id, ACTOR);
  assert.deepEqual(heard, [id]);
  assert.equal(logged.length, 1);
  await assert.rejects(tokens.authenticate(token), { code: 'UNAUTHORIZED' });
  await tokens.revoke(id, ACTOR);
  assert.deepEqual(heard, [id]);
  stop();
  await tokens.revoke((await tokens.create({ name: 'b', role: 'viewer' }, ACTOR)).id, ACTOR);
  assert.deepEqual(heard, [id]);
  await assert.rejects(tokens.revoke('nothing', ACTOR), { code: 'NOT_FOUND' });
  const rows = await audit.list({}, { action: 'api-token.revoke' });
  assert.equal(rows.items.length, 2);
});

test('names, roles and expiries that make no sense are refused', async (t) => {
  const { tokens } = await openTokens(t);
  const bad = [
    { name: '', role: 'viewer' },
    { name: '  ', role: 'viewer' },
    { name: 'x'.repeat(65), role: 'viewer' },
    { name: 'a\nb', role: 'viewer' },
    { name: 'a', role: 'root' },
    { name: 'a', role: 'viewer', expiresAt: START },
    { name: 'a', role: 'viewer', expiresAt: Number.NaN },
  ];
  for (const request of bad) {
    await assert.rejects(tokens.create(request as never, ACTOR), { code: 'VALIDATION' }, JSON.stringify(request));
  }
  assert.deepEqual((await tokens.list({})).items, []);
});

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
