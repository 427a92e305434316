/** The audit log over the API: filters, the check, the export, and rows for what hosts deny. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { AUDIT_READS, SEND_MS } from '../../../../server/routes/limits.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { HOST } from './fake-host.ts';
import { as, ask, fixture, listen } from './fakes.ts';

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

test('whoever takes nothing of an export does not keep it from others for ever', async (t) => {
  const clock = new FakeClock();
  async function* endless(): AsyncGenerator<string> {
    for (;;) yield `${'x'.repeat(64 * 1024)}\n`;
  }
  const ended: number[] = [];
  async function* watched(): AsyncGenerator<string> {
    try {
      yield* endless();
    } finally {
      ended.push(clock.monotonic());
    }
  }
  const made = await fixture({ overrides: { clock } });
  made.deps.auditTrail.export = watched;
  t.after(() => {
    made.api.server.closeAllConnections();
    return made.api.close();
  });
  const url = `${await listen(made)}/api/v1/audit/export`;
  const open = async () => {
    const request = http.get(url, { headers: as('admin'), agent: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.on('error', () => undefined);
    return response.pause();
  };
  for (let n = 0; n < AUDIT_READS.ofHost; n++) await open();
  const another = () => ask(made.api, { url: '/api/v1/audit/export', headers: as('admin') });
  assert.equal((await another()).json().code, 'OVERLOADED');
  await waitFor('both to be cut off', async () => {
    clock.advance(SEND_MS);
    await setImmediate();
    return ended.length === AUDIT_READS.ofHost;
  });
});
