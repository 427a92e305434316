/** The tables: what goes in comes out, in pages, and what is taken stays taken. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aCertificate, aHost, HOST_IDS, openTestStore, START } from './fixture.ts';

const [A, B, C] = HOST_IDS;

test('a host is found by id and by name in any case, and listed by name', async (t) => {
  const { store } = await openTestStore(t);
  await store.hosts.insert(aHost(B, 'zeta'));
  const host = await store.hosts.insert(aHost(A, 'Alpha'));
  assert.deepEqual(host, {
    ...aHost(A, 'Alpha'),
    kind: 'native',
    lastSeenAt: undefined,
    revokedAt: undefined,
    revokeReason: undefined,
    quarantinedAt: undefined,
    quarantineReason: undefined,
  });
  assert.deepEqual(await store.hosts.get('ALPHA'), host);
  assert.deepEqual(await store.hosts.get(A.toUpperCase()), host);
  await assert.rejects(store.hosts.get('nobody'), { code: 'HOST_NOT_FOUND', message: 'there is no host "nobody"' });
  const names = (await store.hosts.list({})).items.map(({ name }) => name);
  assert.deepEqual(names, ['Alpha', 'zeta']);
});

test('a name belongs to one host, whatever its case', async (t) => {
  const { store } = await openTestStore(t);
  await store.hosts.insert(aHost(A, 'web'));
  await assert.rejects(store.hosts.insert(aHost(B, 'WEB')), { code: 'CONFLICT', message: /WEB is taken/ });
  await store.hosts.insert(aHost(B, 'db'));
  await assert.rejects(store.hosts.update(B, { name: 'Web' }), { code: 'CONFLICT' });
  await assert.rejects(store.hosts.update(B, { name: 'a b' }), { code: 'VALIDATION' });
  assert.equal((await store.hosts.update(A, { name: 'WEB', tags: ['x', 'y'] })).name, 'WEB');
  assert.deepEqual((await store.hosts.get(A)).tags, ['x', 'y']);
  await assert.rejects(store.hosts.update(C, { name: 'c' }), { code: 'HOST_NOT_FOUND' });
  assert.equal(await store.hosts.delete(A), true);
  assert.equal(await store.hosts.delete(A), false);
  await store.hosts.insert(aHost(C, 'web'));
});

test('free names are numbered without gaps, and look-alikes do not count', async (t) => {
  const { store } = await openTestStore(t);
  const { hosts } = store;
  assert.equal(await hosts.freeName('a_b'), 'a_b');
  await hosts.insert(aHost(A, 'A_B'));
  await hosts.insert(aHost(B, 'axb-2'));
  assert.equal(await hosts.freeName('a_b'), 'a_b-2');
  await hosts.insert(aHost(C, 'a_b-3'));
  assert.equal(await hosts.freeName('a_b'), 'a_b-2');
  const long = 'x'.repeat(63);
  await hosts.update(A, { name: long });
  assert.equal(await hosts.freeName(long), `${'x'.repeat(61)}-2`);
});

test('signs of life and revocation are kept', async (t) => {
  const { store } = await openTestStore(t);
  await store.hosts.insert(aHost(A, 'a'));
  await store.hosts.insert(aHost(B, 'b'));
  await store.hosts.insert(aHost(C, 'c'));
  const facts = { os: 'linux', arch: 'arm64', hostname: 'new', agentVersion: '2' };
  await store.hosts.markSeen([]);
  await store.hosts.markSeen([
    { id: A, at: 7, ...facts },
    { id: B, at: 8, ...facts, hostname: 'other' },
    { id: 'none', at: 9, ...facts },
  ]);
  const seen = await store.hosts.get(A);
  assert.deepEqual([seen.lastSeenAt, seen.arch, seen.hostname, seen.agentVersion], [7, 'arm64', 'new', '2']);
  const other = await store.hosts.get(B);
  assert.deepEqual([other.lastSeenAt, other.hostname], [8, 'other']);
  const third = await store.hosts.get(C);
  assert.deepEqual([third.lastSeenAt, third.hostname], [undefined, aHost(C, 'c').hostname]);
  await store.hosts.markRevoked(A, 9, 'stolen');
  const revoked = await store.hosts.markRevoked(A, 10, 'again');
  assert.deepEqual([revoked.revokedAt, revoked.revokeReason], [9, 'stolen']);
});

test('revoking certificates: one, all of a host, once', async (t) => {
  const { store } = await openTestStore(t);
  const { certificates } = store;
  await certificates.insert(aCertificate('A1', A));
  await certificates.insert(aCertificate('A2', A, START + 1));
  await certificates.insert(aCertificate('B1', B, START + 2));
  assert.equal(await certificates.isKeyKnown(aCertificate('A1', A).spkiPin), true);
  assert.equal(await certificates.isKeyKnown('sha256:other'), false);
  await assert.rejects(certificates.insert({ ...aCertificate('C1', C), spkiPin: aCertificate('A1', A).spkiPin }));

  assert.equal((await certificates.revoke('A1', 5, 'lost')).reason, 'lost');
  assert.equal((await certificates.revoke('A1', 6, 'again')).revokedAt, 5);
  await assert.rejects(certificates.revoke('FF', 6, 'x'), { code: 'NOT_FOUND' });
  assert.deepEqual(await certificates.revokeOf(A, 7, 'host gone'), ['A2']);
  assert.deepEqual(await certificates.revokeOf(A, 8, 'host gone'), []);
  assert.deepEqual(await certificates.active(), [{ serial: 'B1', hostId: B, notAfter: START + 1000 }]);
  const serials = async (filter?: object) =>
    (await certificates.list({}, filter)).items.map((certificate) => certificate.serial);
  assert.deepEqual(await serials(), ['B1', 'A2', 'A1']);
  assert.deepEqual(await serials({ state: 'revoked' }), ['A2', 'A1']);
  assert.deepEqual(await serials({ hostId: B, state: 'active' }), ['B1']);
  assert.equal((await certificates.latestOf(A))?.serial, 'A2');
});

test('pages add up to the whole list, in its order, even where times are equal', async (t) => {
  const { store } = await openTestStore(t);
  const token = (i: number) => ({
    id: `id${i}`,
    name: undefined,
    secretHash: Buffer.alloc(32, i),
    hostName: undefined,
    tags: [],
    createdBy: 'test',
    createdAt: START + Math.floor(i / 4),
    expiresAt: START + 1000,
  });
  for (let i = 0; i < 10; i++) {
    await store.enrollmentTokens.insert(token(i));
    await store.hosts.insert(aHost(A.replace(/.$/, String(i)), `h${i}`));
    await store.certificates.insert(aCertificate(`A${i}`, A, START + Math.floor(i / 4)));
    await store.audit.append([
      {
        at: START,
        actor: `u${i % 2}`,
        address: undefined,
        action: 'x',
        target: undefined,
        result: 'ok',
        detail: { i },
      },
    ]);
  }
  const whole = async <T>(
    list: (page: { limit: number; cursor?: string }) => Promise<{ items: T[]; nextCursor?: string }>,
  ) => {
    const items: T[] = [];
    let cursor: string | undefined;
    for (let pages = 1; ; pages++) {
      const page = await list({ limit: 3, ...(cursor === undefined ? {} : { cursor }) });
      items.push(...page.items);
      cursor = page.nextCursor;
      if (cursor === undefined) return { items, pages };
    }
  };
  const tokens = await whole((page) => store.enrollmentTokens.list(page));
  assert.deepEqual(
    tokens.items.map(({ id }) => id),
    ['id9', 'id8', 'id7', 'id6', 'id5', 'id4', 'id3', 'id2', 'id1', 'id0'],
  );
  assert.equal(tokens.pages, 4);
  const certificates = await whole((page) => store.certificates.list(page));
  assert.equal(certificates.items.map(({ serial }) => serial).join(), 'A9,A8,A7,A6,A5,A4,A3,A2,A1,A0');
  const hosts = await whole((page) => store.hosts.list(page));
  assert.equal(hosts.items.map(({ name }) => name).join(), 'h0,h1,h2,h3,h4,h5,h6,h7,h8,h9');
  const audit = await whole((page) => store.audit.list(page, { actor: 'u1' }));
  assert.deepEqual(
    audit.items.map(({ detail }) => detail['i']),
    [9, 7, 5, 3, 1],
  );
});

test('limits and cursors that are none are refused', async (t) => {
  const { store } = await openTestStore(t);
  for (const limit of [0, 501, -1, 1.5, Number.NaN]) {
    await assert.rejects(store.hosts.list({ limit }), { code: 'VALIDATION', message: /limit/ });
  }
  await store.hosts.list({ limit: 500 });
  const bad = ['', 'x', 'null', Buffer.from('[1]').toString('base64url'), Buffer.from('[1,"a"]').toString('base64url')];
  for (const cursor of [...bad, 'A'.repeat(10_000)]) {
    await assert.rejects(store.hosts.list({ cursor }), { code: 'VALIDATION', message: /cursor/ });
  }
  const forHosts = Buffer.from('["a","b"]').toString('base64url');
  await store.hosts.list({ cursor: forHosts });
  await assert.rejects(store.audit.list({ cursor: forHosts }), { code: 'VALIDATION' });
});

test('a token is used once, and not when it is revoked or expired', async (t) => {
  const { store } = await openTestStore(t);
  const { enrollmentTokens: tokens } = store;
  const insert = async (id: string) =>
    await tokens.insert({
      id,
      name: 'n',
      secretHash: Buffer.alloc(32),
      hostName: 'h',
      tags: ['t'],
      createdBy: 'c',
      createdAt: START,
      expiresAt: START + 10,
    });
  const use = (at: number) => ({ at, hostId: A, serial: 'A1', spkiPin: 'p' });
  for (const id of ['a', 'b', 'c']) await insert(id);
  assert.equal(await tokens.use('a', use(START + 9)), true);
  assert.equal(await tokens.use('a', use(START + 9)), false);
  assert.deepEqual((await tokens.find('a'))?.use, use(START + 9));
  assert.equal(await tokens.use('b', use(START + 10)), false);
  assert.equal(await tokens.revoke('c', START + 1), true);
  assert.equal(await tokens.revoke('c', START + 2), false);
  assert.equal(await tokens.use('c', use(START + 2)), false);
  assert.equal(await tokens.use('nothing', use(START)), false);
});
