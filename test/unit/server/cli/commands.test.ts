import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { before, describe, it, type TestContext } from 'node:test';
import { runCli } from '../../../../server/cli/program.ts';
import { tempDir } from '../../../support/tmp.ts';
import { fakeApi, fakeIo, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

let identity: Identity;
let stranger: Identity;

before(async () => {
  [identity, stranger] = await Promise.all([makeIdentity(), makeIdentity()]);
});

const HOST = {
  id: 'b0a5ac6c-2a53-4a0c-8b8e-1a3e1c2f5d11',
  name: 'edge-1',
  kind: 'native',
  state: 'online',
  os: 'linux',
  arch: 'x64',
  agentVersion: '0.1.0',
  tags: ['eu', 'web'],
  docker: { reachable: true, version: '20.10.24' },
  capabilities: [],
  createdAt: '2029-12-31T00:00:00Z',
  connectedAt: '2029-12-31T23:00:00Z',
  lastSeenAt: '2029-12-31T23:59:30Z',
  certificate: { serial: 'AB', notAfter: '2030-01-20T00:00:00Z' },
};

async function api(t: TestContext) {
  const server = await fakeApi(t, identity);
  server.on('GET /api/v1/hosts', () => ({ items: [HOST], nextCursor: null }));
  server.on('GET /api/v1/hosts/edge-1', () => HOST);
  return server;
}

describe('command lines', () => {
  it('that are wrong end with 2, help and version with 0', async () => {
    const codes = async (args: string[]) => await runCli(args, fakeIo({ HOME: '/nonexistent' }));
    for (const args of [[], ['bogus'], ['host'], ['host', 'show'], ['logs', 'h'], ['ps', 'a', 'b'], ['ps', '--nope']]) {
      assert.equal(await codes(args), 2, args.join(' '));
    }
    for (const args of [['--help'], ['--version'], ['exec', '--help']]) assert.equal(await codes(args), 0);
  });

  it('without a server or a token say what to do', async () => {
    const io = fakeIo({ HOME: '/nonexistent' });
    assert.equal(await runCli(['host', 'ls'], io), 2);
    assert.match(io.err(), /^fairlead: no server is given: .*fairlead login/);
    const other = fakeIo({ HOME: '/nonexistent', FAIRLEAD_SERVER: 'https://127.0.0.1:1' });
    assert.equal(await runCli(['host', 'ls'], other), 2);
    assert.match(other.err(), /no API token/);
  });

  it('take no name that would leave its part of a path', async (t) => {
    const server = await api(t);
    for (const name of ['..', '.', '']) {
      const { code } = await runAgainst(server, ['host', 'rm', name]);
      assert.equal(code, 2);
    }
    await runAgainst(server, ['host', 'show', '../tokens?x']);
    assert.equal(server.requests.at(-1)?.url.pathname, '/api/v1/hosts/..%2Ftokens%3Fx');
  });
});

describe('trust', () => {
  it('sends nothing to a server with another CA than the token names', async (t) => {
    const server = await fakeApi(t, stranger);
    const { code, err } = await runAgainst({ ...server, token: identity.token }, ['host', 'ls']);
    assert.equal(code, 1);
    assert.match(err, /another CA/);
    assert.ok(server.requests.every(({ authorization }) => authorization === undefined));
  });

  it('is not won by showing the right CA in front of the wrong certificate', async (t) => {
    const server = await fakeApi(t, stranger, identity.caPem);
    const { code, err } = await runAgainst({ ...server, token: identity.token }, ['host', 'ls']);
    assert.equal(code, 1);
    assert.match(err, /certificate/);
    assert.ok(server.requests.every(({ url }) => url.pathname === '/ca.pem'));
  });

  it('names a token that was mistyped before anything is dialled', async (t) => {
    const server = await api(t);
    const { code, err } = await runAgainst({ ...server, token: identity.token.slice(0, -3) }, ['host', 'ls']);
    assert.equal(code, 1);
    assert.match(err, /TOKEN_INVALID/);
    assert.equal(server.requests.length, 0);
  });

  it('tells an unreachable server', async () => {
    const env = { HOME: '/nonexistent', FAIRLEAD_SERVER: 'https://127.0.0.1:1', FAIRLEAD_API_TOKEN: identity.token };
    const io = fakeIo(env);
    assert.equal(await runCli(['host', 'ls'], io), 1);
    assert.match(io.err(), /cannot be reached.*SERVER_UNREACHABLE/);
  });
});

describe('login', () => {
  it('stores a context that later commands use without asking for the CA again', async (t) => {
    const server = await api(t);
    server.on('GET /api/v1/whoami', () => ({ name: 'admin', role: 'admin' }));
    const home = await tempDir(t);
    const env = { HOME: home };
    const login = fakeIo(env, Readable.from([Buffer.from(`${identity.token}\n`)]));
    assert.equal(await runCli(['login', '--server', server.url], login), 0, login.err());
    assert.match(login.out(), /as admin \(admin\)/);
    assert.ok(!login.out().includes(identity.token));
    const path = join(home, '.config', 'fairlead', 'context.json');
    assert.equal((await stat(path)).mode & 0o777, 0o600);

    server.requests.length = 0;
    const io = fakeIo(env);
    assert.equal(await runCli(['host', 'ls'], io), 0, io.err());
    assert.deepEqual(
      server.requests.map(({ url }) => url.pathname),
      ['/api/v1/hosts'],
    );
    assert.equal(server.requests[0]?.authorization, `Bearer ${identity.token}`);

    const elsewhere = fakeIo(env);
    assert.equal(await runCli(['--server', 'https://127.0.0.1:1', 'host', 'ls'], elsewhere), 2);
    assert.match(elsewhere.err(), /no API token is given for 127.0.0.1:1/);

    const logout = fakeIo(env);
    assert.equal(await runCli(['logout'], logout), 0);
    assert.equal(await runCli(['host', 'ls'], fakeIo(env)), 2);
  });

  it('stores nothing when the server refuses the token', async (t) => {
    const server = await fakeApi(t, identity);
    server.on('GET /api/v1/whoami', (_seen, response) => problem(response, 401, 'UNAUTHORIZED', 'it is revoked'));
    const home = await tempDir(t);
    const file = join(home, 'token');
    await writeFile(file, identity.token);
    const io = fakeIo({ HOME: home });
    assert.equal(await runCli(['login', '--server', server.url, '--api-token-file', file], io), 1);
    assert.equal(io.err(), 'fairlead: it is revoked (UNAUTHORIZED)\n');
    await assert.rejects(stat(join(home, '.config')), { code: 'ENOENT' });
  });
});

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

describe('changes', () => {
  it('send what the command line says', async (t) => {
    const server = await api(t);
    server.on('PATCH /api/v1/hosts/edge-1', () => ({ ...HOST, name: 'new' }));
    server.on('POST /api/v1/hosts/edge-1/revoke', () => HOST);
    server.on('POST /api/v1/hosts/edge-1/containers/web/stop', (_seen, response) => void response.writeHead(204).end());
    const last = () => server.requests.at(-1);

    assert.equal((await runAgainst(server, ['host', 'rename', 'edge-1', 'new'])).out, 'edge-1 is now new.\n');
    assert.deepEqual(last()?.body, { name: 'new' });
    await runAgainst(server, ['host', 'tag', 'edge-1', '--add', 'db', '--remove', 'eu']);
    assert.deepEqual(last()?.body, { addTags: ['db'], removeTags: ['eu'] });
    await runAgainst(server, ['host', 'revoke', 'edge-1', '--reason', 'lost']);
    assert.deepEqual(last()?.body, { reason: 'lost' });
    server.on('POST /api/v1/revocations', ({ body }) => {
      const { hosts, tag } = body as { hosts: string[]; tag?: string };
      const found = tag === undefined ? hosts.filter((name) => name !== 'gone') : ['tagged'];
      const notFound = hosts.filter((name) => name === 'gone');
      return { hosts: found.map((name) => ({ id: name, name })), certificates: [], notFound: { hosts: notFound } };
    });
    const many = await runAgainst(server, ['host', 'revoke', 'a', 'b', 'gone', '--reason', 'lost']);
    assert.deepEqual(last()?.body, { hosts: ['a', 'b', 'gone'], reason: 'lost' });
    assert.deepEqual([many.code, many.out], [1, 'Revoked a.\nRevoked b.\n']);
    assert.match(many.err, /no host gone/);
    const tagged = await runAgainst(server, ['host', 'revoke', '--tag', 'lab', '--reason', 'lost']);
    assert.deepEqual([tagged.code, tagged.out], [0, 'Revoked tagged.\n']);
    assert.deepEqual(last()?.body, { hosts: [], tag: 'lab', reason: 'lost' });
    assert.equal((await runAgainst(server, ['host', 'revoke'])).code, 2);
    assert.equal((await runAgainst(server, ['container', 'stop', 'edge-1', 'web', '-t', '3'])).code, 0);
    assert.equal(last()?.url.search, '?t=3');
    assert.equal((await runAgainst(server, ['host', 'tag', 'edge-1'])).code, 2);
  });

  it('show a new token once, with the command that uses it', async (t) => {
    const server = await api(t);
    server.on('POST /api/v1/enrollment-tokens', () => ({
      id: 't1',
      token: 'fle1.secret',
      expiresAt: '2030-01-01T01:00:00Z',
      caFingerprint: 'sha256:ab',
      enrollCommand: 'fairlead-agent enroll --server S --token fle1.secret',
      installCommand: '(f=$(mktemp) && fetch && echo fle1.secret | sh "$f")',
    }));
    const args = ['token', 'create', '--ttl', '1h', '--tag', 'a', '--tag', 'b', '--host-name', 'n'];
    const { out } = await runAgainst(server, args);
    assert.match(out, /fairlead-agent enroll --server S --token fle1\.secret/);
    assert.ok(out.includes('(f=$(mktemp) && fetch && echo fle1.secret | sh "$f")\n'), out);
    assert.deepEqual(server.requests.at(-1)?.body, { ttlSeconds: 3600, tags: ['a', 'b'], hostName: 'n' });
    assert.equal((await runAgainst(server, ['token', 'create', '--ttl', 'soon'])).code, 2);
  });

  it('limit an API token to hosts and tags, and show what tokens are limited to', async (t) => {
    const server = await api(t);
    const scope = { hosts: [{ id: HOST.id, name: 'edge-1' }], tags: ['lab'] };
    server.on('POST /api/v1/api-tokens', () => ({ id: 't1', token: 'fla1.secret', scope, expiresAt: null }));
    const args = ['apitoken', 'create', '--name', 'ci', '--role', 'viewer', '--host', 'edge-1', '--tag', 'lab'];
    assert.match((await runAgainst(server, args)).out, /^Scope: +edge-1,tag:lab$/m);
    const body = { name: 'ci', role: 'viewer', hosts: ['edge-1'], tags: ['lab'] };
    assert.deepEqual(server.requests.at(-1)?.body, body);
    const row = { id: 't1', name: 'ci', role: 'viewer', createdAt: '2029-12-31T23:00:00Z', expiresAt: null };
    const used = { lastUsedAt: '2029-12-31T23:59:00Z', lastUsedAddress: '192.0.2.1' };
    const gone = { hosts: [{ id: 'gone', name: null }], tags: [] };
    server.on('GET /api/v1/api-tokens', () => ({
      items: [
        { ...row, ...used, scope },
        { ...row, scope: gone, lastUsedAt: null, lastUsedAddress: null },
        { ...row, scope: null, lastUsedAt: null, lastUsedAddress: null },
      ],
      nextCursor: null,
    }));
    const { out } = await runAgainst(server, ['apitoken', 'ls']);
    const lines = out.split('\n');
    assert.match(lines[1] ?? '', /viewer +edge-1,tag:lab +1h ago +1m ago from 192\.0\.2\.1/);
    assert.match(lines[2] ?? '', /viewer +gone/);
    assert.match(lines[3] ?? '', /viewer +all/);
  });

  it('rotate a token: printed, or into a private file that holds nothing else', async (t) => {
    const server = await api(t);
    const made = { id: 't2', token: 'fla1.next', scope: null, expiresAt: null, replacedEndsAt: '2030-01-01T01:00:00Z' };
    server.on('POST /api/v1/api-tokens/t1/rotate', () => made);
    server.on('POST /api/v1/api-tokens/me/rotate', () => made);
    server.on('GET /api/v1/whoami', () => ({ tokenId: 'me', name: 'admin', role: 'admin', scope: null }));
    const named = await runAgainst(server, ['apitoken', 'rotate', 't1', '--overlap', '1h']);
    assert.match(named.out, /^Token: +fla1\.next$/m);
    assert.match(named.out, /Old one ends: +2030-01-01T01:00:00Z \(in 1h\)/);
    assert.deepEqual(server.requests.at(-1)?.body, { overlapSeconds: 3600 });
    const own = await runAgainst(server, ['apitoken', 'rotate']);
    assert.equal(server.requests.at(-1)?.url.pathname, '/api/v1/api-tokens/me/rotate');
    assert.match(own.out, /log in with the new one/);
    const file = join(await tempDir(t), 'admin-token');
    await writeFile(file, 'the old one', { mode: 0o644 });
    const written = await runAgainst(server, ['apitoken', 'rotate', '--out', file, '--json']);
    assert.equal(await readFile(file, 'utf8'), 'fla1.next\n');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.doesNotMatch(written.out, /fla1/);
    assert.equal(JSON.parse(written.out).out, file);
  });

  it('rotate nothing if the new token could not be written', async (t) => {
    const server = await api(t);
    for (const file of ['/nonexistent/token', await tempDir(t)]) {
      const { code, err } = await runAgainst(server, ['apitoken', 'rotate', 't1', '--out', file]);
      assert.equal(code, 1);
      assert.match(err, /cannot write .*; nothing was rotated/);
    }
    assert.equal(server.requests.filter(({ method }) => method === 'POST').length, 0);
  });
});

describe('changes on a host', () => {
  const KILL = 'POST /api/v1/hosts/edge-1/containers/web/kill';
  const kill = ['container', 'kill', 'edge-1', 'web'];

  it('are asked for again by the same key when their answer is lost, and only then', async (t) => {
    const server = await api(t);
    const losses: ((response: ServerResponse) => void)[] = [
      (response) => void response.destroy(),
      (response) => problem(response, 503, 'HOST_OFFLINE', 'it is not connected'),
      (response) => problem(response, 502, 'STREAM_INTERRUPTED', 'lost', { repeat: 'with-key' }),
      (response) => void response.writeHead(204).end(),
    ];
    server.on(KILL, (_seen, response) => losses.shift()?.(response));
    const { code, out } = await runAgainst(server, kill);
    assert.deepEqual([code, out], [0, 'web\n']);
    const keys = server.requests.filter(({ method }) => method === 'POST').map((seen) => seen.idempotencyKey);
    assert.equal(keys.length, 4);
    assert.match(keys[0] ?? '', /^[0-9a-f-]{36}$/);
    assert.equal(new Set(keys).size, 1);
    server.on(KILL, (_seen, response) => problem(response, 503, 'HOST_OFFLINE', 'it is not connected'));
    assert.match((await runAgainst(server, kill)).err, /HOST_OFFLINE/);
    assert.equal(server.requests.filter(({ method }) => method === 'POST').length, 5);
    assert.notEqual(server.requests.at(-1)?.idempotencyKey, keys[0]);
  });

  it('whose outcome nobody knows are not', async (t) => {
    const server = await api(t);
    server.on(KILL, (_seen, response) => problem(response, 502, 'STREAM_INTERRUPTED', 'look', { repeat: 'unknown' }));
    const { code, err } = await runAgainst(server, kill);
    assert.equal(code, 1);
    assert.match(err, /look \(STREAM_INTERRUPTED\)/);
    assert.equal(server.requests.filter(({ method }) => method === 'POST').length, 1);
  });
});

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
    assert.match(err, /This will stop 1 containers on 2 hosts/);
    assert.equal((await runAgainst(server, ['bulk', 'stop'])).code, 2);
    assert.equal((await runAgainst(server, ['bulk', 'explode', '--all'])).code, 2);
  });
});
