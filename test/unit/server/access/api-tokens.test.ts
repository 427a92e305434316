/** API tokens: who gets in, to which hosts, and until when. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { sql } from 'kysely';
import { formatToken, parseToken } from '../../../../certs/enrollment-token.ts';
import { allows } from '../../../../server/access/roles.ts';
import { fitsHash, newSecret } from '../../../../server/access/secret.ts';
import { aHost, HOST_IDS, START } from '../store/fixture.ts';
import { ACTOR, openTokens, PIN } from './open-tokens.ts';

const HOUR_MS = 3_600_000;

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

test('a scope names hosts by id, so that it does not follow a name', async (t) => {
  const { tokens, store } = await openTokens(t);
  const [id] = HOST_IDS;
  await store.hosts.insert(aHost(id, 'shed'));
  const scoped = { name: 'ci', role: 'viewer' as const, hosts: ['SHED', id], tags: ['lab', 'lab'] };
  const { token, scope } = await tokens.create(scoped, ACTOR);
  assert.deepEqual(scope, { hosts: [id], tags: ['lab'] });
  await store.hosts.update(id, { name: 'attic' });
  assert.deepEqual((await tokens.authenticate(token)).scope, scope);
  assert.deepEqual((await tokens.list({})).items[0]?.scope, scope);
  const wrong: [object, string][] = [
    [{ hosts: ['nobody'] }, 'HOST_NOT_FOUND'],
    [{ hosts: [] }, 'VALIDATION'],
    [{ hosts: [id], tags: [] }, 'VALIDATION'],
    [{ hosts: Array(257).fill(id) }, 'VALIDATION'],
    [{ tags: Array(33).fill('a') }, 'VALIDATION'],
  ];
  for (const [more, code] of wrong) {
    await assert.rejects(tokens.create({ name: 'ci', role: 'viewer', ...more }, ACTOR), { code }, JSON.stringify(more));
  }
});

test('a scope that cannot be read opens nothing', async (t) => {
  const { tokens, store } = await openTokens(t);
  const { token } = await tokens.create({ name: 'ci', role: 'viewer', tags: ['lab'] }, ACTOR);
  for (const scope of ['{}', '[]', '{"hosts":"x","tags":[]}', 'null', 'x']) {
    await sql`update api_tokens set scope = ${scope}`.execute(store.db);
    await assert.rejects(tokens.authenticate(token), Error, scope);
  }
});

test('the address of the last use is kept', async (t) => {
  const { tokens, clock } = await openTokens(t);
  const { token } = await tokens.create({ name: 'ci', role: 'viewer' }, ACTOR);
  const from = async () => (await tokens.list({})).items[0]?.lastUsedAddress;
  assert.equal(await from(), undefined);
  await tokens.authenticate(token, '192.0.2.7');
  await tokens.authenticate(token, '192.0.2.8');
  assert.equal(await from(), '192.0.2.7');
  clock.pass(60_000);
  await tokens.authenticate(token, '192.0.2.8');
  assert.equal(await from(), '192.0.2.8');
});

test('a rotated token ends after its overlap; its successor is the same but for the secret, and lives as long', async (t) => {
  const { tokens, clock, audit } = await openTokens(t);
  const request = { name: 'ci', role: 'operator' as const, tags: ['lab'], expiresAt: START + 10 * HOUR_MS };
  const old = await tokens.create(request, ACTOR);
  clock.pass(HOUR_MS);
  const heard: unknown[] = [];
  tokens.onRevoked((...args) => void heard.push(args));
  const made = await tokens.rotate(old.id, 60, ACTOR);
  const endsAt = START + HOUR_MS + 60_000;
  assert.deepEqual(heard, [[old.id, endsAt]]);
  assert.equal(made.replacedEndsAt, endsAt);
  assert.deepEqual(await tokens.authenticate(made.token), {
    ...{ tokenId: made.id, name: 'ci', role: 'operator', scope: { hosts: [], tags: ['lab'] } },
    expiresAt: START + 11 * HOUR_MS,
  });
  assert.equal((await tokens.authenticate(old.token)).expiresAt, endsAt);
  clock.pass(60_000);
  await assert.rejects(tokens.authenticate(old.token), { code: 'UNAUTHORIZED' });
  await tokens.authenticate(made.token);
  const shown = (await tokens.list({})).items.find(({ id }) => id === old.id);
  assert.deepEqual([shown?.replacedBy, shown?.expiresAt], [made.id, endsAt]);
  const [row] = (await audit.list({}, { action: 'api-token.rotate' })).items;
  assert.deepEqual([row?.target, row?.actor, row?.detail['replacedBy']], [old.id, 'ann', made.id]);
});

test('without an overlap the old token ends at once; one without an end has a successor without one', async (t) => {
  const { tokens } = await openTokens(t);
  const old = await tokens.create({ name: 'ci', role: 'viewer' }, ACTOR);
  const made = await tokens.rotate(old.id, 0, ACTOR);
  await assert.rejects(tokens.authenticate(old.token), { code: 'UNAUTHORIZED' });
  assert.equal((await tokens.authenticate(made.token)).expiresAt, undefined);
});

test('an overlap keeps no token alive beyond its own end', async (t) => {
  const { tokens } = await openTokens(t);
  const old = await tokens.create({ name: 'ci', role: 'viewer', expiresAt: START + 1000 }, ACTOR);
  assert.equal((await tokens.rotate(old.id, 3600, ACTOR)).replacedEndsAt, START + 1000);
});

test('a token is rotated once, while it is good, with an overlap of at most a week', async (t) => {
  const { tokens, clock } = await openTokens(t);
  const make = () => tokens.create({ name: 'ci', role: 'viewer', expiresAt: clock.now() + 1000 }, ACTOR);
  const [rotated, revoked, expired] = [await make(), await make(), await make()];
  for (const overlap of [-1, 1.5, 604_801, Number.NaN]) {
    await assert.rejects(tokens.rotate(rotated.id, overlap, ACTOR), { code: 'VALIDATION' });
  }
  const next = await tokens.rotate(rotated.id, 604_800, ACTOR);
  await assert.rejects(tokens.rotate(rotated.id, 0, ACTOR), { code: 'CONFLICT', message: new RegExp(next.id) });
  await tokens.revoke(revoked.id, ACTOR);
  await assert.rejects(tokens.rotate(revoked.id, 0, ACTOR), { code: 'CONFLICT' });
  clock.pass(1000);
  await assert.rejects(tokens.rotate(expired.id, 0, ACTOR), { code: 'CONFLICT' });
  await assert.rejects(tokens.rotate('nothing', 0, ACTOR), { code: 'NOT_FOUND' });
  assert.equal((await tokens.list({})).items.length, 4, 'what is refused makes nothing');
});
