/** Enrollment tokens and what they are good for: one host each, whatever is tried. */
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCsr } from '../../../../certs/csr.ts';
import { formatToken, parseToken } from '../../../../certs/enrollment-token.ts';
import { agentUri } from '../../../../certs/names.ts';
import { RefusedRequest } from '../../../../server/audit/refused-request.ts';
import { START } from '../store/fixture.ts';
import { ADMIN, AGENT_ADDRESS, aRequest, INSTALLATION, newKey, openEnrollment } from './fixture.ts';

const HOUR_MS = 3_600_000;
const TOKEN_INVALID = {
  code: 'TOKEN_INVALID',
  message: 'the enrollment token is unknown, expired, used or revoked',
};

test('a token is one string with the pin, shown once, good for an hour', async (t) => {
  const { enrollment, ca, dataDir, store, audit } = await openEnrollment(t);
  const made = await enrollment.createToken({ name: 'rack 4', hostName: 'db1', tags: ['prod'] }, ADMIN);
  const { pin, id, secret } = parseToken('fle1', made.token);
  assert.deepEqual([pin, id], [ca.fingerprint, made.id]);
  assert.equal(made.expiresAt, START + HOUR_MS);
  const { items } = await enrollment.list({});
  assert.deepEqual(items, [
    {
      id,
      name: 'rack 4',
      state: 'pending',
      hostName: 'db1',
      adopts: undefined,
      tags: ['prod'],
      createdBy: 'ann',
      createdAt: START,
      expiresAt: START + HOUR_MS,
      revokedAt: undefined,
      usedAt: undefined,
      hostId: undefined,
    },
  ]);
  const rows = JSON.stringify((await audit.list({})).items);
  assert.match(rows, /enrollment-token\.create/);
  assert.equal(rows.includes(made.token), false);
  await store.close();
  for (const file of await readdir(dataDir)) {
    const bytes = await readFile(join(dataDir, file));
    assert.equal(bytes.includes(secret) || bytes.includes(made.token), false, file);
  }
});

test('tokens out of bounds are refused', async (t) => {
  const { enrollment } = await openEnrollment(t);
  const bad = [
    { ttlSeconds: 0 },
    { ttlSeconds: 7 * 86_400 + 1 },
    { ttlSeconds: 60.5 },
    { ttlSeconds: Number.NaN },
    { name: '' },
    { name: 'a\nb' },
    { name: 'x'.repeat(65) },
    { hostName: 'no spaces' },
    { hostName: INSTALLATION },
    { tags: ['a b'] },
    { tags: ['a', 'a'] },
    { tags: Array.from({ length: 33 }, (_, i) => `t${i}`) },
  ];
  for (const request of bad) {
    await assert.rejects(enrollment.createToken(request, ADMIN), { code: 'VALIDATION' }, JSON.stringify(request));
  }
  assert.deepEqual((await enrollment.list({})).items, []);
  await enrollment.createToken({ ttlSeconds: 60 }, ADMIN);
  await enrollment.createToken({ ttlSeconds: 7 * 86_400 }, ADMIN);
});

test('a token and a request become a host with a certificate that may connect', async (t) => {
  const { enrollment, store, active, audit, ca } = await openEnrollment(t);
  const { token, id } = await enrollment.createToken({ tags: ['prod', 'eu'] }, ADMIN);
  const key = newKey();
  const answer = await enrollment.redeem(await aRequest(token, { key, tags: ['eu', 'ssd'] }), AGENT_ADDRESS);
  assert.deepEqual([answer.name, answer.repeated, answer.ca], ['web1', false, ca.certPem]);

  const x509 = new X509Certificate(answer.certificate);
  assert.ok(x509.verify(new X509Certificate(ca.certPem).publicKey));
  assert.ok(x509.checkPrivateKey(key));
  assert.equal(x509.subjectAltName, `URI:${agentUri(INSTALLATION, answer.hostId)}`);
  assert.equal(answer.notAfter, Date.parse(x509.validTo));
  assert.equal(active.hostOf(x509.serialNumber), answer.hostId);

  const host = await store.hosts.get('web1');
  assert.deepEqual(
    [host.id, host.hostname, host.os, host.arch, host.agentVersion, host.tags.join()],
    [answer.hostId, 'Web1', 'linux', 'x64', '1.2.3', 'prod,eu,ssd'],
  );
  const row = await store.certificates.latestOf(host.id);
  assert.deepEqual([row?.pem, row?.state, row?.notAfter], [answer.certificate, 'active', answer.notAfter]);
  const [view] = (await enrollment.list({})).items;
  assert.deepEqual([view?.state, view?.hostId, view?.usedAt], ['used', host.id, START]);
  const [found] = (await audit.list({}, { action: 'host.enroll' })).items;
  const { hash, ...entry } = found ?? assert.fail('no row');
  assert.match(hash, /^[0-9a-f]{64}$/);
  assert.deepEqual(entry, {
    id: 2,
    at: START,
    actor: `enrollment-token:${id}`,
    address: AGENT_ADDRESS,
    action: 'host.enroll',
    target: host.id,
    result: 'ok',
    detail: { name: 'web1', hostname: 'Web1', serial: row?.serial, tokenId: id },
  });
});

test('50 redeems at once with 50 keys: one certificate, 49 refusals', async (t) => {
  const { enrollment, store, active } = await openEnrollment(t);
  const { token } = await enrollment.createToken({}, ADMIN);
  const requests = await Promise.all(Array.from({ length: 50 }, () => aRequest(token)));
  const results = await Promise.allSettled(requests.map((request) => enrollment.redeem(request, AGENT_ADDRESS)));
  const refused = results.filter((result) => result.status === 'rejected');
  assert.equal(refused.length, 49);
  for (const { reason } of refused) assert.deepEqual({ code: reason.code, message: reason.message }, TOKEN_INVALID);
  assert.equal((await store.hosts.list({})).items.length, 1);
  assert.equal((await store.certificates.list({})).items.length, 1);
  assert.equal(active.size, 1);
});

test('50 redeems at once with one key: one certificate, 50 times', async (t) => {
  const { enrollment, store } = await openEnrollment(t);
  const { token } = await enrollment.createToken({ hostName: 'db' }, ADMIN);
  const request = await aRequest(token);
  const answers = await Promise.all(Array.from({ length: 50 }, () => enrollment.redeem(request, AGENT_ADDRESS)));
  assert.equal(new Set(answers.map(({ certificate, hostId }) => certificate + hostId)).size, 1);
  assert.equal(answers.filter(({ repeated }) => repeated).length, 49);
  assert.equal((await store.certificates.list({})).items.length, 1);
});

test('a lost answer can be asked for again, by the same key, while the token lives', async (t) => {
  const { enrollment, clock, store, signed } = await openEnrollment(t);
  const { token } = await enrollment.createToken({}, ADMIN);
  const key = newKey();
  const first = await enrollment.redeem(await aRequest(token, { key }), AGENT_ADDRESS);
  clock.pass(HOUR_MS - 1);
  const second = await enrollment.redeem(await aRequest(token, { key, name: 'ignored' }), AGENT_ADDRESS);
  assert.deepEqual(second, { ...first, repeated: true });
  assert.equal(signed(), 1);
  await assert.rejects(enrollment.redeem(await aRequest(token), AGENT_ADDRESS), TOKEN_INVALID);
  await assert.rejects(enrollment.redeem({ ...(await aRequest(token)), csr: 'x' }, AGENT_ADDRESS), TOKEN_INVALID);
  clock.pass(1);
  await assert.rejects(enrollment.redeem(await aRequest(token, { key }), AGENT_ADDRESS), TOKEN_INVALID);
  assert.equal((await store.hosts.list({})).items.length, 1);
});

test('a certificate that was revoked meanwhile is not handed out again', async (t) => {
  const { enrollment, store } = await openEnrollment(t);
  const key = newKey();
  const ways = [
    async (hostId: string) => void (await store.certificates.revokeOf(hostId, START, 'lost')),
    async (hostId: string) => void (await store.hosts.markRevoked(hostId, START, 'lost')),
    async (hostId: string) => void (await store.hosts.delete(hostId)),
  ];
  for (const away of ways) {
    const { token } = await enrollment.createToken({}, ADMIN);
    const request = await aRequest(token, ways.indexOf(away) === 0 ? { key } : {});
    await away((await enrollment.redeem(request, AGENT_ADDRESS)).hostId);
    await assert.rejects(enrollment.redeem(request, AGENT_ADDRESS), TOKEN_INVALID);
  }
  const { token, id } = await enrollment.createToken({}, ADMIN);
  const request = await aRequest(token);
  await enrollment.redeem(request, AGENT_ADDRESS);
  await enrollment.revoke(id, ADMIN);
  await assert.rejects(enrollment.redeem(request, AGENT_ADDRESS), TOKEN_INVALID);
});

test('unknown, expired, revoked, wrong, truncated: one answer, no signature, and the reason for the audit log', async (t) => {
  const { enrollment, clock, ca, audit, signed } = await openEnrollment(t);
  const good = await enrollment.createToken({}, ADMIN);
  const revoked = await enrollment.createToken({}, ADMIN);
  const expired = await enrollment.createToken({ ttlSeconds: 60 }, ADMIN);
  await enrollment.revoke(revoked.id, ADMIN);
  clock.pass(60_000);
  const { id, secret } = parseToken('fle1', good.token);
  const other = Buffer.alloc(32, 1);
  const wrong: [string, string][] = [
    ['', 'malformed'],
    [good.token.slice(0, -1), 'malformed'],
    [`${good.token.slice(0, -8)}AAAAAAAA`, 'malformed'],
    [formatToken('fla1', { pin: ca.fingerprint, id, secret }), 'malformed'],
    [formatToken('fle1', { pin: ca.fingerprint, id: 'unknown', secret }), 'unknown'],
    [formatToken('fle1', { pin: ca.fingerprint, id, secret: other }), 'wrong secret'],
    [formatToken('fle1', { pin: `sha256:${'00'.repeat(32)}`, id, secret }), 'made for another CA'],
    [revoked.token, 'revoked'],
    [expired.token, 'expired'],
  ];
  for (const [token, why] of wrong) {
    const entry = {
      actor: ['revoked', 'expired'].includes(why) ? `enrollment-token:${parseToken('fle1', token).id}` : 'anonymous',
      address: AGENT_ADDRESS,
      action: 'host.enroll',
      result: 'refused',
      detail: { code: 'TOKEN_INVALID', why, hostname: 'Web1' },
    };
    await assert.rejects(enrollment.redeem(await aRequest(token), AGENT_ADDRESS), { ...TOKEN_INVALID, entry }, why);
  }
  const { items: enrolls } = await audit.list({}, { action: 'host.enroll' });
  assert.deepEqual(enrolls, [], 'rows are for the caller to write, who knows how many there may be');
  assert.equal(signed(), 0);
  const rows = JSON.stringify((await audit.list({})).items);
  for (const { token } of [good, revoked, expired]) assert.equal(rows.includes(token.slice(5, 60)), false);
  await enrollment.redeem(await aRequest(good.token), AGENT_ADDRESS);
  const states = (await enrollment.list({})).items.map(({ state }) => state).sort();
  assert.deepEqual(states, ['expired', 'revoked', 'used']);
});

test('a request that is refused does not use the token up', async (t) => {
  const { enrollment, store, active, caKeyPem, serverKeyPem } = await openEnrollment(t);
  const taken = newKey();
  const before = await enrollment.createToken({ hostName: 'taken' }, ADMIN);
  await enrollment.redeem(await aRequest(before.token, { key: taken }), AGENT_ADDRESS);

  const { token } = await enrollment.createToken({}, ADMIN);
  const good = await aRequest(token);
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const bad: [string, object][] = [
    ['CSR_INVALID', { ...good, csr: 'nonsense' }],
    ['CSR_INVALID', { ...good, csr: `${good.csr}${'\n'.repeat(20_000)}` }],
    ['CSR_INVALID', { ...good, csr: await createCsr(weak) }],
    ['CSR_INVALID', { ...good, csr: await createCsr(createPrivateKey(caKeyPem)) }],
    ['CSR_INVALID', { ...good, csr: await createCsr(createPrivateKey(serverKeyPem)) }],
    ['CSR_INVALID', { ...good, csr: await createCsr(taken) }],
    ['CONFLICT', { ...good, name: 'TAKEN' }],
    ['VALIDATION', { ...good, name: 'a b' }],
    ['VALIDATION', { ...good, tags: ['a b'] }],
  ];
  for (const [code, request] of bad) {
    await assert.rejects(enrollment.redeem(request as typeof good, AGENT_ADDRESS), (error) => {
      assert.ok(error instanceof RefusedRequest);
      assert.deepEqual([error.code, error.entry.result, error.entry.detail['code']], [code, 'refused', code]);
      return true;
    });
  }
  assert.equal((await store.hosts.list({})).items.length, 1);
  assert.equal((await store.certificates.list({})).items.length, 1);
  assert.equal(active.size, 1);
  const answer = await enrollment.redeem(good, AGENT_ADDRESS);
  assert.equal(answer.name, 'web1');
});

test('a name that was asked for is given or refused; one made from the machine is numbered', async (t) => {
  const { enrollment } = await openEnrollment(t);
  const enroll = async (token: { hostName?: string }, change: { name?: string; hostname?: string }) => {
    const made = await enrollment.createToken(token, ADMIN);
    return (await enrollment.redeem(await aRequest(made.token, change), AGENT_ADDRESS)).name;
  };
  assert.equal(await enroll({}, {}), 'web1');
  assert.equal(await enroll({}, {}), 'web1-2');
  assert.equal(await enroll({}, { hostname: 'WEB1' }), 'web1-3');
  assert.equal(await enroll({}, { hostname: '…' }), 'host');
  assert.equal(await enroll({}, { name: 'Mine' }), 'Mine');
  assert.equal(await enroll({ hostName: 'given' }, { name: 'other' }), 'given');
  await assert.rejects(enroll({ hostName: 'GIVEN' }, {}), { code: 'CONFLICT' });
});

test('twins race for one name: one gets it, the other token stays good', async (t) => {
  const { enrollment } = await openEnrollment(t);
  const tokens = [await enrollment.createToken({}, ADMIN), await enrollment.createToken({}, ADMIN)];
  const requests = await Promise.all(tokens.map(({ token }) => aRequest(token, { name: 'one' })));
  const results = await Promise.allSettled(requests.map((request) => enrollment.redeem(request, AGENT_ADDRESS)));
  assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  const states = (await enrollment.list({})).items.map(({ state }) => state).sort();
  assert.deepEqual(states, ['pending', 'used']);
});

test('one key with two tokens at once becomes one host', async (t) => {
  const { enrollment, store } = await openEnrollment(t);
  const key = newKey();
  const tokens = [await enrollment.createToken({}, ADMIN), await enrollment.createToken({}, ADMIN)];
  const requests = await Promise.all(tokens.map(({ token }) => aRequest(token, { key })));
  const results = await Promise.allSettled(requests.map((request) => enrollment.redeem(request, AGENT_ADDRESS)));
  const codes = results.map((result) => (result.status === 'rejected' ? result.reason.code : 'ok')).sort();
  assert.deepEqual(codes, ['CSR_INVALID', 'ok']);
  assert.equal((await store.hosts.list({})).items.length, 1);
});

test('revoking a token: unknown ones are named, a second time changes nothing', async (t) => {
  const { enrollment, clock, audit } = await openEnrollment(t);
  await assert.rejects(enrollment.revoke('nothing', ADMIN), { code: 'NOT_FOUND' });
  const { id } = await enrollment.createToken({}, ADMIN);
  await enrollment.revoke(id, ADMIN);
  clock.pass(5);
  await enrollment.revoke(id, ADMIN);
  assert.equal((await enrollment.list({})).items[0]?.revokedAt, START);
  assert.equal((await audit.list({}, { action: 'enrollment-token.revoke' })).items.length, 1);
});

test('a public key, whatever its form, is known again by its SubjectPublicKeyInfo', async (t) => {
  const { enrollment, store } = await openEnrollment(t);
  const { token } = await enrollment.createToken({}, ADMIN);
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const { hostId } = await enrollment.redeem(await aRequest(token, { key }), AGENT_ADDRESS);
  const x509 = new X509Certificate((await store.certificates.latestOf(hostId))?.pem ?? '');
  assert.ok(x509.publicKey.equals(createPublicKey(key)));
});
