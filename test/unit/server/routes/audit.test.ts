/** The audit log over the API: filters, the check, the export, and rows for what hosts deny. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { as, ask, fixture, HOST } from './fakes.ts';

const denied = () => {
  throw new FairleadError('DENIED_BY_HOST', 'its owner denies container.list');
};

test('filters are checked and passed on', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const list = (query: string) => ask(api, { url: `/api/v1/audit?${query}`, headers: as('admin') });
  const query = 'actor=ann&address=192.0.2.1&action=host.&result=refused&since=2030-01-01&until=2030-01-02T00:00:00Z';
  assert.equal((await list(query)).statusCode, 200);
  assert.equal((await list(`host=${HOST.name}`)).statusCode, 200);
  assert.equal((await list('host=gone')).statusCode, 200);
  assert.equal((await list('target=x')).statusCode, 200);
  const asked = calls.filter(({ name }) => name === 'audit.list').map(({ args }) => args[0]);
  const [since, until] = [Date.UTC(2030, 0, 1), Date.UTC(2030, 0, 2)];
  assert.deepEqual(asked, [
    { actor: 'ann', address: '192.0.2.1', action: 'host.', result: 'refused', since, until },
    { targets: [HOST.name, HOST.id] },
    { targets: ['gone'] },
    { targets: ['x'] },
  ]);
  for (const bad of ['since=yesterday', 'until=2030', 'result=good', 'host=a&target=b', 'who=x', 'actor=']) {
    const answer = await list(bad);
    assert.equal(answer.statusCode, 400, bad);
    assert.equal(answer.json().code, 'VALIDATION');
  }
});

test('the check names the first row that is wrong; the export is NDJSON; both are for administrators', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const verdict = (await ask(api, { url: '/api/v1/audit/verify', headers: as('admin') })).json();
  assert.equal(verdict.ok, false);
  assert.deepEqual(verdict.fault, { kind: 'changed', row: 3, detail: 'row 3 does not fit' });
  const exported = await ask(api, { url: '/api/v1/audit/export', headers: as('admin') });
  assert.match(exported.headers['content-type'] ?? '', /x-ndjson/);
  assert.equal(exported.body, '{"type":"header"}\n{"type":"end"}\n');
  for (const url of ['/api/v1/audit', '/api/v1/audit/verify', '/api/v1/audit/export']) {
    assert.equal((await ask(api, { url, headers: as('operator') })).statusCode, 403, url);
  }
});

test('a read that a host denies leaves one row that says so', async (t) => {
  const answers = Object.fromEntries(
    [
      'container.inspect',
      'container.top',
      'container.list',
      'container.logs',
      'container.stats',
      'host.info',
      'container.start',
    ].map((kind) => [kind, denied]),
  );
  const { api, audit } = await fixture({ answers });
  t.after(() => api.close());
  const url = '/api/v1/hosts/edge-1';
  const cases: [string, string][] = [
    [`${url}/containers/c1`, 'edge-1/c1'],
    [`${url}/containers/c1/top`, 'edge-1/c1'],
    [`${url}/containers`, 'edge-1'],
    [`${url}/info`, 'edge-1'],
    ['/api/v1/containers', 'edge-1'],
  ];
  for (const [path, target] of cases) {
    audit.length = 0;
    const answer = await ask(api, { url: path, headers: as('viewer') });
    assert.ok([403, 200].includes(answer.statusCode), `${path}: ${answer.body}`);
    const rows = audit.filter(({ result }) => result === 'refused');
    assert.equal(rows.length, 1, `${path}: ${JSON.stringify(audit)}`);
    assert.deepEqual(
      [rows[0]?.actor, rows[0]?.target, rows[0]?.detail?.['code']],
      ['the-viewer', target, 'DENIED_BY_HOST'],
    );
  }
  audit.length = 0;
  await ask(api, { method: 'POST', url: `${url}/containers/c1/start`, headers: as('operator') });
  assert.deepEqual(
    audit.filter(({ result }) => result === 'refused').map(({ action }) => action),
    ['container.start'],
  );
});

test('whoever asks for what is denied again and again does not fill the log', async () => {
  const overrides = { limits: { refusalRowsPerMinute: 2 } };
  const { api, audit } = await fixture({ answers: { 'host.info': denied }, overrides });
  for (let i = 0; i < 10; i++) await ask(api, { url: '/api/v1/hosts/edge-1/info', headers: as('viewer') });
  await api.close();
  const rows = audit.filter(({ result }) => result === 'refused');
  assert.deepEqual(
    rows.map(({ action, detail }) => [action, detail?.['suppressed']]),
    [
      ['GET /api/v1/hosts/:host/info', undefined],
      ['GET /api/v1/hosts/:host/info', undefined],
      ['denied', 8],
    ],
  );
});
