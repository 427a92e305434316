/** The audit log: complete, filtered, without secrets, and never silently lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import { Audit } from '../../../../server/audit/audit.ts';
import { redactDetail, redactText } from '../../../../server/audit/redact.ts';
import { openTestStore, START } from '../store/fixture.ts';

/** The audit log of a store, and what it writes to the program's log. */
async function openAudit(t: import('node:test').TestContext) {
  const opened = await openTestStore(t);
  const logged: unknown[] = [];
  const log = { error: (line: unknown) => void logged.push(line) };
  return { ...opened, logged, audit: new Audit({ store: opened.store, clock: opened.clock, log }) };
}

test('rows say who, from where, what, to what, and with what result', async (t) => {
  const { audit, clock } = await openAudit(t);
  await audit.record({ actor: 'ann', action: 'host.rename', result: 'ok' });
  clock.pass(1000);
  await audit.record({
    actor: 'bob',
    address: '192.0.2.1',
    action: 'host.revoke',
    target: 'h1',
    result: 'refused',
    detail: { reason: 'x', at: new Date(START), n: 1, none: undefined },
  });
  const { items } = await audit.list({});
  assert.deepEqual(items, [
    {
      id: 2,
      at: START + 1000,
      actor: 'bob',
      address: '192.0.2.1',
      action: 'host.revoke',
      target: 'h1',
      result: 'refused',
      detail: { reason: 'x', at: '2030-01-01T00:00:00.000Z', n: 1 },
    },
    {
      id: 1,
      at: START,
      actor: 'ann',
      address: undefined,
      action: 'host.rename',
      target: undefined,
      result: 'ok',
      detail: {},
    },
  ]);
  const ids = async (filter: object) => (await audit.list({}, filter)).items.map(({ id }) => id);
  assert.deepEqual(await ids({ actor: 'ann' }), [1]);
  assert.deepEqual(await ids({ action: 'host.revoke', target: 'h1' }), [2]);
  assert.deepEqual(await ids({ result: 'failed' }), []);
  assert.deepEqual(await ids({ since: START + 1 }), [2]);
  assert.deepEqual(await ids({ until: START + 1 }), [1]);
});

test('a row of a transaction that fails is gone with it', async (t) => {
  const { audit, store } = await openAudit(t);
  const work = store.transaction(async (tables) => {
    await audit.record({ actor: 'a', action: 'x', result: 'ok' }, tables);
    throw new Error('no');
  });
  await assert.rejects(work, /no/);
  assert.deepEqual((await audit.list({})).items, []);
});

test('a row that cannot be written is an error, or stands in the log', async (t) => {
  const { audit, store, logged } = await openAudit(t);
  await sql`pragma query_only = on`.execute(store.db);
  await assert.rejects(audit.record({ actor: 'a', action: 'x', result: 'ok' }), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual(logged, []);
  await audit.recordOrLog({ actor: 'a', action: 'x', result: 'refused', detail: { token: 'fle1.abc' } });
  const [line] = logged as { audit: { action: string; detail: unknown } }[];
  assert.equal(line?.audit.action, 'x');
  assert.deepEqual(line?.audit.detail, { token: '[redacted]' });
});

test('secrets do not get in, whoever passes them', () => {
  const pem = '-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----';
  assert.equal(redactText(`a fla1.AbC_-9 b ${pem} c fle1.x`), 'a [token] b [private key] c [token]');
  assert.equal(redactText('-----BEGIN PRIVATE KEY-----\ncut off'), '[private key]');
  const detail = redactDetail({
    tokenId: 'abc',
    token: 'x',
    nested: { Authorization: 'Bearer x', list: ['fla1.zzz', { password: 'x' }] },
    key_pem: pem,
    bytes: Buffer.from('secret'),
  });
  assert.deepEqual(detail, {
    tokenId: 'abc',
    token: '[redacted]',
    nested: { Authorization: '[redacted]', list: ['[token]', { password: '[redacted]' }] },
    key_pem: '[redacted]',
    bytes: '[6 bytes]',
  });
});

test('a detail is bounded in depth, width and size', () => {
  const deep: Record<string, unknown> = {};
  let level = deep;
  for (let i = 0; i < 1000; i++) level = level['a'] = {} as Record<string, unknown>;
  assert.ok(JSON.stringify(redactDetail(deep)).length < 200);
  assert.equal(redactText('x'.repeat(5000)).length, 1025);
  const wide = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, 'v']));
  assert.equal(Object.keys(redactDetail(wide)).length, 64);
  const large = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`k${i}`, 'x'.repeat(1000)]));
  assert.deepEqual(redactDetail(large), { omitted: 'the detail was too large' });
});
