/** `audit` on the command line: filters, what goes together, and checks that trust nobody. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { exportEnd, exportRow } from '../../../../shared/audit-export.ts';
import { tempDir } from '../../../support/tmp.ts';
import { aChain } from '../../shared/audit-chains.ts';
import { fakeApi, makeIdentity, runAgainst } from './fixtures.ts';

const identity = await makeIdentity();

test('filters go to the server, with times as it takes them', async (t) => {
  const api = await fakeApi(t, identity);
  api.on('GET /api/v1/audit', () => ({ items: [], nextCursor: null }));
  const filters = ['--actor', 'ann', '--action', 'host.', '--host', 'edge', '--result', 'refused', '--since', '1h'];
  assert.equal((await runAgainst(api, ['audit', ...filters, '--until', '2030-01-01', '--address', '::1'])).code, 0);
  const seen = api.requests.find(({ url }) => url.pathname === '/api/v1/audit');
  assert.deepEqual(Object.fromEntries(seen?.url.searchParams ?? []), {
    ...{ actor: 'ann', action: 'host.', host: 'edge', result: 'refused', address: '::1', limit: '50' },
    ...{ since: '2029-12-31T23:00:00.000Z', until: '2030-01-01T00:00:00.000Z' },
  });
});

test('options that do not go together are bad usage', async (t) => {
  const api = await fakeApi(t, identity);
  const cases = [
    ['--verify', '--export'],
    ['--file', 'x'],
    ['--out', 'x'],
    ['--verify', '--file', 'x'],
    ['--verify', '--actor', 'ann'],
    ['--export', '--limit', '3'],
    ['--verify', '--expect-head', 'abc'],
    ['--result', 'good'],
  ];
  for (const args of cases) assert.equal((await runAgainst(api, ['audit', ...args])).code, 2, args.join(' '));
  assert.equal(api.requests.length, 0);
});

test('a CA file that holds no certificate is named', async (t) => {
  const api = await fakeApi(t, identity);
  const file = join(await tempDir(t), 'roots.pem');
  await writeFile(file, 'no PEM\n');
  const run = await runAgainst(api, ['audit', '--verify', '--file', 'x', '--ca-file', file]);
  assert.equal(run.code, 1);
  assert.match(run.err, /roots\.pem: there is no certificate in PEM form/);
});

test('a log that a server sends unsigned, cut or with an error is not taken for a good one', async (t) => {
  const api = await fakeApi(t, identity);
  const rows = aChain(3);
  const text = (...records: object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('');
  const header = { type: 'header', format: 'fairlead-audit-v1' };
  const end = exportEnd(3, { id: 3, hash: rows[2]?.hash ?? '', count: 3 });
  const cases: [string, RegExp][] = [
    [text(header, ...rows.map(exportRow), end), /no signed checkpoint/],
    [text(header, ...rows.map(exportRow)), /no end: it was cut off/],
    [text(...rows.map(exportRow), end), /line 1 of the export is damaged: an export has one header/],
    [text(header, { error: { code: 'CONFLICT', detail: 'read it again' } }), /read it again \(CONFLICT\)/],
    [text(header, { ...exportRow(rows[0] ?? ({} as never)), actor: 5 }), /row 1 holds what no row/],
    [`${text(header)}{`, /line 2 of the export is damaged: it is no JSON/],
    ['', /no end/],
  ];
  const dir = await tempDir(t);
  await writeFile(join(dir, 'ca.pem'), identity.caPem);
  for (const [sent, why] of cases) {
    api.on('GET /api/v1/audit/export', (_seen, response) => void response.end(sent));
    const online = await runAgainst(api, ['audit', '--verify']);
    assert.equal(online.code, 1);
    assert.match(online.err, why);
    await writeFile(join(dir, 'export'), sent);
    const offline = await runAgainst(api, [
      'audit',
      '--verify',
      '--file',
      join(dir, 'export'),
      '--ca-file',
      join(dir, 'ca.pem'),
    ]);
    assert.equal(offline.code, 1);
    assert.match(offline.err, why);
  }
  const missing = await runAgainst(api, [
    'audit',
    '--verify',
    '--file',
    join(dir, 'none'),
    '--ca-file',
    join(dir, 'ca.pem'),
  ]);
  assert.match(missing.err, /cannot read .*none/);
});
