/** `bulk`: what it asks, what it prints as it goes, and how it exits. */
import assert from 'node:assert/strict';
import { before, describe, it, type TestContext } from 'node:test';
import { type Identity, makeIdentity, runAgainst } from './fixtures.ts';
import { oneHost } from './one-host.ts';

let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

const api = (t: TestContext) => oneHost(t, identity);

describe('bulk', () => {
  const ACTIONS = 'POST /api/v1/containers/actions';
  const answer = (result: 'ok' | 'failed', dryRun = false) => [
    { type: 'plan', operationId: 'o', dryRun, hosts: 2, matched: 1, unreachable: [] },
    { type: 'container', host: 'edge-1', container: 'web', id: 'a', result, code: 'CONFLICT', detail: 'busy' },
    {
      type: 'summary',
      matched: 1,
      ok: result === 'ok' ? 1 : 0,
      failed: result === 'ok' ? 0 : 1,
      skipped: 0,
      unreachable: 0,
    },
  ];
  const lines = (records: object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('');

  it('sends what is meant, tells each and the sum, and fails if one failed', async (t) => {
    const server = await api(t);
    server.on(ACTIONS, (_seen, response) => void response.end(lines(answer('ok'))));
    const args = ['bulk', 'restart', '--tag', 'eu', '--name', 'web*', '-t', '3', '--max-failures', '2', '--yes'];
    const { code, out } = await runAgainst(server, args);
    assert.equal(code, 0);
    assert.match(
      out,
      /^edge-1\/web\n\nHOST +OK +FAILED +SKIPPED\nedge-1 +1 +0 +0\n1 matched: 1 ok, 0 failed, 0 skipped\.\n$/,
    );
    const select = { tag: ['eu'], name: ['web*'] };
    assert.deepEqual(server.requests.at(-1)?.body, { action: 'restart', select, timeoutSeconds: 3, maxFailures: 2 });
    assert.match(server.requests.at(-1)?.idempotencyKey ?? '', /^[0-9a-f-]{36}$/);
    server.on(ACTIONS, (_seen, response) => void response.end(lines(answer('failed'))));
    const failed = await runAgainst(server, ['bulk', 'stop', '--all', '--yes']);
    assert.deepEqual([failed.code, failed.err], [1, 'fairlead: edge-1/web: busy (CONFLICT)\n']);
    assert.deepEqual(server.requests.at(-1)?.body, { action: 'stop', select: { all: true } });
  });

  it('does the same to stacks', async (t) => {
    const server = await api(t);
    const [plan, , summary] = answer('ok');
    const done = { type: 'stack', host: 'edge-1', stack: 'shop', result: 'ok' };
    server.on(
      'POST /api/v1/stacks/actions',
      (_seen, response) => void response.end(lines([plan, done, summary] as object[])),
    );
    const args = ['stack', 'bulk', 'redeploy', '--tag', 'eu', '--name', 'sh*', '--pull', '--timeout', '2m', '--yes'];
    const { code, out } = await runAgainst(server, args);
    assert.equal(code, 0);
    assert.match(out, /^edge-1\/shop\n\nHOST .*\n1 matched: 1 ok, 0 failed, 0 skipped\.\n$/s);
    const select = { tag: ['eu'], name: ['sh*'] };
    assert.deepEqual(server.requests.at(-1)?.body, { action: 'redeploy', select, pull: true, timeoutSeconds: 120 });
    assert.equal((await runAgainst(server, ['stack', 'bulk', 'stop'])).code, 2);
    assert.equal((await runAgainst(server, ['stack', 'bulk', 'explode', '--all'])).code, 2);
  });

  it('touches nothing before somebody said yes, nor without a word of what', async (t) => {
    const server = await api(t);
    server.on(ACTIONS, ({ body }, response) => {
      assert.equal((body as { dryRun?: boolean }).dryRun, true);
      response.end(lines(answer('ok', true)));
    });
    const { code, err } = await runAgainst(server, ['bulk', 'stop', '--label', 'a=b']);
    assert.deepEqual([code, server.requests.filter(({ method }) => method === 'POST').length], [2, 1]);
    assert.match(err, /This will stop 1 container on 2 hosts\. .*give --yes to do it/);
    assert.equal((await runAgainst(server, ['bulk', 'stop'])).code, 2);
    assert.equal((await runAgainst(server, ['bulk', 'explode', '--all'])).code, 2);
  });
});
