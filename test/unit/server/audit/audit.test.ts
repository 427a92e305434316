/** The audit log: complete, filtered, without secrets, and never silently lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import { Audit } from '../../../../server/audit/audit.ts';
import { redactDetail, redactText } from '../../../../server/audit/redact.ts';
import { MAX_QUEUED_ROWS } from '../../../../server/row-queue.ts';
import { type ChainPosition, GENESIS, nextPosition } from '../../../../shared/audit-chain.ts';
import { cpuMs } from '../../../support/cpu-time.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
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
  const items = (await audit.list({})).items.map(({ hash, ...row }) => {
    assert.match(hash, /^[0-9a-f]{64}$/);
    return row;
  });
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
  assert.deepEqual(await ids({ action: 'host.revoke', targets: ['h1'] }), [2]);
  assert.deepEqual(await ids({ action: 'host.', targets: ['h1', 'h2'] }), [2]);
  assert.deepEqual(await ids({ action: 'host.' }), [2, 1]);
  assert.deepEqual(await ids({ action: 'ost.' }), []);
  assert.deepEqual(await ids({ address: '192.0.2.1' }), [2]);
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

test('arguments keep what they say, without what is marked as a secret', () => {
  const cmd = ['mysql', '--password', 'hunter2', '--user=root', '--api-key=abc', '-phunter2', 'TOKEN=x'];
  const clean = [
    'mysql',
    '--password',
    '[redacted]',
    '--user=root',
    '--api-key=[redacted]',
    '-phunter2',
    'TOKEN=[redacted]',
  ];
  assert.deepEqual(redactDetail({ cmd }), { cmd: clean });
  const cases = {
    'sh -c "PGPASSWORD=abc psql"': 'sh -c "PGPASSWORD=[redacted] psql"',
    'curl -H "Authorization: Bearer abc" https://x': 'curl -H "Authorization: Bearer [redacted]" https://x',
    'git clone https://bob:pw@host/x': 'git clone https://bob:[redacted]@host/x',
    'mysqldump --password pw db': 'mysqldump --password [redacted] db',
    'x-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_-1 eyJhbGciOiJIUzI1NiJ9': 'x-[token] eyJhbGciOiJIUzI1NiJ9',
    '1https://bob:pw@host .my-long.db_password.of=abc':
      '1https://bob:[redacted]@host .my-long.db_password.of=[redacted]',
    '{"client_secret": "a b", "n": 1}': '{"client_secret": [redacted], "n": 1}',
    'enrollment-token:abc': 'enrollment-token:abc',
    'the enrollment token is unknown, expired': 'the enrollment token is unknown, expired',
  };
  for (const [text, expected] of Object.entries(cases)) assert.equal(redactText(text), expected);
  assert.equal(redactText('a\0b\ud800'), 'a\ufffdb\ufffd');
});

test('rows that come together are written together, in their order, and nobody hears of it before', async (t) => {
  const { audit, store } = await openAudit(t);
  const entry = (n: number) => ({ actor: 'a', action: 'x', result: 'ok' as const, detail: { n } });
  const seen: number[] = [];
  audit.onRows((rows) => void seen.push(rows));
  await Promise.all(Array.from({ length: 200 }, (_, n) => audit.record(entry(n))));
  const rows = await store.audit.read(0, 1000, 1000);
  assert.deepEqual(
    rows.map(({ detail }) => JSON.parse(detail).n),
    Array.from({ length: 200 }, (_, n) => n),
  );
  assert.equal(
    seen.reduce((sum, n) => sum + n, 0),
    200,
  );
  assert.ok(seen.length < 20, `${seen.length} writes`);
  assert.equal(audit.queuedRows, 0);
});

test('rows of transactions and rows by themselves form one chain', async (t) => {
  const { audit, store } = await openAudit(t);
  const entry = { actor: 'a', action: 'x', result: 'ok' as const };
  const inside = () => store.transaction(async (tables) => await audit.record(entry, tables));
  const undone = () =>
    store.transaction(async (tables) => {
      await audit.record(entry, tables);
      throw new Error('no');
    });
  await Promise.all(
    Array.from({ length: 60 }, async (_, n) => {
      if (n % 3 === 0) await audit.record(entry);
      else if (n % 3 === 1) await inside();
      else await assert.rejects(undone(), /no/);
    }),
  );
  let position: ChainPosition = GENESIS;
  for (const row of await store.audit.read(0, 1000, 1000)) {
    const next = nextPosition(position, row);
    assert.ok(!('kind' in next), JSON.stringify(next));
    position = next;
  }
  assert.deepEqual([position.id, position.count], [40, 40]);
});

test('a row by itself inside of a transaction is refused at once, as it would wait for ever', async (t) => {
  const { audit, store } = await openAudit(t);
  const work = store.transaction(async () => await audit.record({ actor: 'a', action: 'x', result: 'ok' }));
  await assert.rejects(work, /inside of a transaction/);
});

test('rows that come alone are written at once, later ones by the interval, and a stop waits for none', async (t) => {
  const { store } = await openTestStore(t);
  const clock = new FakeClock();
  const log = { error: () => assert.fail('nothing is lost') };
  const audit = new Audit({ store, clock, log, writeIntervalMs: 20 });
  const entry = { actor: 'a', action: 'x', result: 'ok' as const };
  await audit.record(entry);
  const second = audit.record(entry);
  const third = audit.record(entry);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await store.audit.head())?.id, 1);
  clock.advance(20);
  await Promise.all([second, third]);
  assert.equal((await store.audit.head())?.id, 3);
  const last = audit.record(entry);
  await audit.drain();
  await last;
  assert.equal((await store.audit.head())?.id, 4);
});

test('a queue that is full refuses rows and loses none of those it took', async (t) => {
  const { store } = await openTestStore(t);
  const clock = new FakeClock();
  const logged: unknown[] = [];
  const audit = new Audit({
    store,
    clock,
    log: { error: (line: unknown) => void logged.push(line) },
    writeIntervalMs: 20,
  });
  const entry = { actor: 'a', action: 'x', result: 'ok' as const };
  await audit.record(entry);
  const taken = Array.from({ length: MAX_QUEUED_ROWS }, () => audit.record(entry));
  await assert.rejects(audit.record(entry), { code: 'OVERLOADED' });
  await audit.recordOrLog(entry);
  assert.equal(logged.length, 1);
  await audit.drain();
  await Promise.all(taken);
  assert.equal((await store.audit.head())?.id, MAX_QUEUED_ROWS + 1);
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
  const huge = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`k${i}`, wide]));
  assert.deepEqual(redactDetail(huge), { omitted: 'the detail was too large' });
});

test('what was done cannot be hidden behind much else', () => {
  for (const filling of ['x', '\x01', '"']) {
    const cmd = ['sh', '-c', 'rm -rf /data', ...Array.from({ length: 64 }, () => filling.repeat(1024))];
    const clean = redactDetail({ cmd, tty: false });
    assert.ok(JSON.stringify(clean).length <= 16 * 1024);
    const shown = clean['cmd'] as string[];
    assert.deepEqual(shown.slice(0, 3), ['sh', '-c', 'rm -rf /data']);
    assert.equal(shown.at(-1), '… and 3 more');
    assert.match(shown.at(-2) ?? '', /^\S+…$/, 'what is cut says so');
    assert.equal(clean['tty'], false);
  }
});

test('no text takes long to clean', async () => {
  const hostile = [
    'a.',
    'token.',
    '-token',
    '-eyJ',
    'a-',
    'a://',
    '://:',
    ' --token ',
    'eyJaaaaaaaaaa.',
    'token= "',
    '://a:b',
  ];
  for (const piece of hostile) {
    const text = piece.repeat(8 * 1024).slice(0, 8 * 1024);
    redactText(text);
    const spentMs =
      (await cpuMs(() => {
        for (let n = 0; n < 10; n++) redactText(text);
      })) / 10;
    // What it takes is some 1 ms; it was 40 for some.
    assert.ok(spentMs < 8, `${JSON.stringify(piece)} takes ${spentMs} ms`);
  }
});
