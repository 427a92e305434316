/** What is refused is written down, but nobody can fill the audit log without a token, nor hide behind forged addresses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBalancers } from '../../../../server/doors/balancers.ts';
import type { AuditEntry } from '../../../../server/routes/deps/audit.ts';
import type { ApiLimits } from '../../../../server/routes/deps.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { ask, fakeDeps, fixture } from './fakes.ts';

const ENROLL = { token: 'bad', csr: 'PEM', hostname: 'box', os: 'linux', arch: 'x64', agentVersion: '0.1.0' };

/** The two ways in which anybody can be refused; each gives the answer's status. */
const WAYS: [action: string, limit: keyof ApiLimits, request: (headers: Record<string, string>) => object][] = [
  [
    'host.enroll',
    'refusedEnrollsPerMinute',
    (headers) => ({ method: 'POST', url: '/api/v1/enroll', payload: ENROLL, headers }),
  ],
  [
    'login',
    'refusedLoginsPerMinute',
    (headers) => ({ url: '/api/v1/hosts', headers: { ...headers, authorization: 'Bearer wrong' } }),
  ],
];

async function opened(limits: Partial<ApiLimits>) {
  const clock = new FakeClock();
  const made = await fixture({ overrides: { clock, limits, trustProxy: true } });
  const rows = (action: string): AuditEntry[] => made.audit.filter((row) => row.action === action);
  return { ...made, clock, rows };
}

for (const [action, limit, request] of WAYS) {
  test(`${action}: an address gets rows up to its limit, then one a minute that counts the rest`, async (t) => {
    const { api, clock, rows } = await opened({ [limit]: 3 });
    t.after(() => api.close());
    const statuses: number[] = [];
    for (let i = 0; i < 10; i++) statuses.push((await ask(api, request({}))).statusCode);
    assert.deepEqual(statuses, [401, 401, 401, 429, 429, 429, 429, 429, 429, 429]);
    assert.equal(rows(action).length, 3);
    clock.advance(60_000);
    assert.deepEqual(rows(action).slice(3), [
      { actor: 'system', action, result: 'refused', detail: { suppressed: 7 } },
    ]);
    clock.advance(600_000);
    assert.equal(rows(action).length, 4, 'nothing more happened');
  });

  test(`${action}: many addresses share a limit of rows, each is told what it would be told alone`, async (t) => {
    const { api, rows } = await opened({ refusalRowsPerMinute: 4 });
    t.after(() => api.close());
    for (let i = 0; i < 10; i++) {
      const answer = await ask(api, request({ 'x-forwarded-for': `192.0.2.${i}` }));
      assert.equal(answer.statusCode, 401);
    }
    assert.deepEqual(
      rows(action).map(({ address }) => address),
      ['192.0.2.0', '192.0.2.1', '192.0.2.2', '192.0.2.3'],
    );
    await api.close();
    assert.deepEqual(rows(action)[4]?.detail, { suppressed: 6 }, 'a stop loses no count');
  });

  test(`${action}: behind a proxy only the address counts that it put last`, async (t) => {
    const { api, rows } = await opened({ [limit]: 3 });
    t.after(() => api.close());
    const statuses: number[] = [];
    for (let i = 0; i < 5; i++) {
      const headers = { 'x-forwarded-for': `10.0.0.${i}, 203.0.113.7` };
      statuses.push((await ask(api, request(headers))).statusCode);
    }
    assert.deepEqual(statuses, [401, 401, 401, 429, 429]);
    assert.deepEqual([...new Set(rows(action).map(({ address }) => address))], ['203.0.113.7']);
  });
}

test('without a proxy the header counts for nothing', async (t) => {
  const { api, audit } = await fixture();
  t.after(() => api.close());
  await ask(api, { url: '/api/v1/hosts', headers: { authorization: 'Bearer wrong', 'x-forwarded-for': '10.0.0.1' } });
  assert.equal(audit[0]?.address, '127.0.0.1');
});

test('nor does it from a peer that is not the proxy', async (t) => {
  const trustedProxies = parseBalancers('--trust-proxy-from', ['127.0.0.2']);
  const { api, audit } = await fixture({ overrides: { trustProxy: true, trustedProxies } });
  t.after(() => api.close());
  const headers = { authorization: 'Bearer wrong', 'x-forwarded-for': '10.0.0.1' };
  for (const remoteAddress of ['127.0.0.1', '127.0.0.2'])
    await ask(api, { url: '/api/v1/hosts', headers, remoteAddress });
  assert.deepEqual(
    audit.map(({ address }) => address),
    ['127.0.0.1', '10.0.0.1'],
  );
});

test('a flood without tokens hides no row of a token that tries too much', async (t) => {
  const { api, audit } = await opened({ refusalRowsPerMinute: 1, refusedLoginsPerMinute: 2 });
  t.after(() => api.close());
  const asking = (url: string, token: string, address: string) =>
    ask(api, { url, headers: { authorization: `Bearer ${token}`, 'x-forwarded-for': address } });
  for (let i = 0; i < 5; i++) await asking('/api/v1/hosts', 'wrong', '192.0.2.1');
  const refused = await asking('/api/v1/api-tokens', 'viewer', '192.0.2.2');
  assert.equal(refused.statusCode, 403);
  assert.ok(audit.some(({ actor, result }) => actor === 'the-viewer' && result === 'refused'));
});

test('an address that failed too often is turned away before its token is looked at; others are not', async (t) => {
  const { deps } = fakeDeps();
  const checked: string[] = [];
  const apiTokens = {
    ...deps.apiTokens,
    authenticate: (token: string) => {
      checked.push(token);
      return deps.apiTokens.authenticate(token);
    },
  };
  const { api } = await fixture({ overrides: { apiTokens, trustProxy: true, limits: { refusedLoginsPerMinute: 2 } } });
  t.after(() => api.close());
  const login = (token: string, address: string) =>
    ask(api, { url: '/api/v1/hosts', headers: { authorization: `Bearer ${token}`, 'x-forwarded-for': address } });
  for (const token of ['wrong', 'wrong', 'viewer', 'wrong']) await login(token, '192.0.2.1');
  assert.deepEqual(checked, ['wrong', 'wrong']);
  const limited = await login('viewer', '192.0.2.1');
  assert.equal(limited.statusCode, 429);
  assert.ok(Number(limited.headers['retry-after']) >= 1 && Number(limited.headers['retry-after']) <= 60);
  assert.equal((await login('viewer', '192.0.2.2')).statusCode, 200);
  const bare = await ask(api, { url: '/api/v1/hosts', headers: { 'x-forwarded-for': '192.0.2.1' } });
  assert.equal(bare.statusCode, 401, 'who shows nothing has nothing to be looked at');
});

test('of IPv6 a /64 is one address', async (t) => {
  const { api } = await opened({ refusedLoginsPerMinute: 2 });
  t.after(() => api.close());
  const statuses: number[] = [];
  for (const address of ['2001:db8::1', '2001:db8::2', '2001:db8::3', '2001:db8:0:1::1']) {
    const headers = { authorization: 'Bearer wrong', 'x-forwarded-for': address };
    statuses.push((await ask(api, { url: '/api/v1/hosts', headers })).statusCode);
  }
  assert.deepEqual(statuses, [401, 401, 429, 401]);
});

test('when too many logins fail in total, an address may fail once; one that never failed is let in', async (t) => {
  const { api } = await opened({ refusedLoginsPerMinuteInTotal: 3, refusedLoginsPerMinute: 30 });
  t.after(() => api.close());
  const login = async (token: string, address: string) => {
    const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': address };
    return (await ask(api, { url: '/api/v1/hosts', headers })).statusCode;
  };
  for (let i = 0; i < 3; i++) assert.equal(await login('wrong', '192.0.2.1'), 401);
  assert.equal(await login('wrong', '192.0.2.1'), 429);
  assert.equal(await login('wrong', '192.0.2.2'), 401);
  assert.equal(await login('wrong', '192.0.2.2'), 429);
  for (let i = 0; i < 5; i++) assert.equal(await login('viewer', '192.0.2.3'), 200);
});
