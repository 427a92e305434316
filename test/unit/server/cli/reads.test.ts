/** Commands that read, against an API that answers as each test says. */
import assert from 'node:assert/strict';
import { before, describe, it, type TestContext } from 'node:test';
import { type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';
import { HOST, oneHost } from './one-host.ts';

let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

const api = (t: TestContext) => oneHost(t, identity);

describe('reads', () => {
  it('print a table for people and JSON for programs, wherever --json stands', async (t) => {
    const server = await api(t);
    const { out } = await runAgainst(server, ['host', 'ls', '--tag', 'eu']);
    assert.match(out, /^NAME +STATE +DOCKER/);
    assert.match(out, /edge-1 +online +20\.10\.24 +linux\/x64 +0\.1\.0 +eu,web +30s ago/);
    for (const args of [
      ['host', 'ls', '--json'],
      ['--json', 'host', 'ls'],
    ]) {
      const result = await runAgainst(server, args);
      assert.deepEqual(JSON.parse(result.out), [HOST]);
    }
    await runAgainst(server, ['host', 'ls', '--tag', 'us', '--tag', 'db', '--state', 'online', '--name', 'e*']);
    assert.equal(server.requests.at(-1)?.url.search, '?tag=us&tag=db&state=online&name=e*&limit=500');
  });

  it('follow a list over its pages', async (t) => {
    const server = await api(t);
    server.on('GET /api/v1/hosts', ({ url }) => {
      const next = url.searchParams.get('cursor') === null ? 'c2' : null;
      return { items: [{ ...HOST, name: next ?? 'last' }], nextCursor: next };
    });
    const { out } = await runAgainst(server, ['host', 'ls', '--json']);
    assert.deepEqual(
      JSON.parse(out).map(({ name }: { name: string }) => name),
      ['c2', 'last'],
    );
  });

  it('print the containers of all hosts and say which did not answer', async (t) => {
    const server = await api(t);
    const container = { Id: '0123456789abcdef', Names: ['/web'], Image: 'busybox:test', State: 'running', Ports: [] };
    server.on('GET /api/v1/containers', () => ({
      items: [{ ...container, host: 'edge-1', hostId: HOST.id }],
      unreachable: [{ host: 'edge-2', code: 'HOST_OFFLINE', detail: 'it is offline' }],
    }));
    const { code, out, err } = await runAgainst(server, ['ps', '-a']);
    assert.equal(code, 0);
    assert.match(out, /edge-1 +0123456789ab +web +busybox:test +running/);
    assert.equal(err, 'fairlead: edge-2: it is offline (HOST_OFFLINE)\n');
    assert.equal(server.requests.at(-1)?.url.search, '?all=1');
  });

  it('print the stacks of all hosts, of those with a tag, and of one', async (t) => {
    const server = await api(t);
    const stack = { name: 'shop', managed: false, services: ['web'], containers: 2, running: 1 };
    const row = { ...stack, revision: null, latest: null };
    server.on('GET /api/v1/stacks', () => ({
      items: [{ ...row, host: 'edge-1', hostId: HOST.id }],
      unreachable: [{ host: 'edge-2', code: 'HOST_OFFLINE', detail: 'it is offline' }],
    }));
    server.on('GET /api/v1/hosts/edge-1/stacks', () => ({ items: [row], nextCursor: null }));
    const { code, out, err } = await runAgainst(server, ['stack', 'ls', '--tag', 'eu', '--name', 's*']);
    assert.deepEqual([code, server.requests.at(-1)?.url.search], [0, '?tag=eu&name=s*']);
    assert.match(out, /^HOST +STACK .*\nedge-1 +shop +1\/2 +web /);
    assert.equal(err, 'fairlead: edge-2: it is offline (HOST_OFFLINE)\n');
    assert.match((await runAgainst(server, ['stack', 'ls', 'edge-1'])).out, /^STACK .*\nshop +1\/2 /);
    assert.equal((await runAgainst(server, ['stack', 'ls', 'edge-1', '--tag', 'eu'])).code, 2);
  });

  it('print a problem with its code and exit with 1', async (t) => {
    const server = await api(t);
    server.on('GET /api/v1/hosts/x/containers', (_seen, response) => {
      problem(response, 404, 'HOST_NOT_FOUND', 'there is no host x');
    });
    const { code, out, err } = await runAgainst(server, ['ps', 'x']);
    assert.deepEqual([code, out, err], [1, '', 'fairlead: there is no host x (HOST_NOT_FOUND)\n']);
  });
});
