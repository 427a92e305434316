/** Commands that change something, against an API that answers as each test says. */
import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { tempDir } from '../../../support/tmp.ts';
import { type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';
import { HOST, oneHost } from './one-host.ts';

let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

const api = (t: TestContext) => oneHost(t, identity);

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
      enrollCommand: 'echo fle1.secret | fairlead-agent enroll --server S --token -',
      installCommand: '(f=$(mktemp) && fetch && echo fle1.secret | sh "$f")',
    }));
    const args = ['token', 'create', '--ttl', '1h', '--tag', 'a', '--tag', 'b', '--host-name', 'n'];
    const { out } = await runAgainst(server, args);
    assert.match(out, /^ {2}echo fle1\.secret \| fairlead-agent enroll --server S --token -$/m);
    assert.match(out, /^ {2}echo fle1\.secret \| npm run --silent agent -- enroll --server S --token -$/m);
    assert.doesNotMatch(out, /--token fle1/);
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
