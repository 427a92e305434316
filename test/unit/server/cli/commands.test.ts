/** Command lines of the CLI, and what it says of its mistakes; whom it trusts, and how it is logged in. */
import assert from 'node:assert/strict';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { before, describe, it, type TestContext } from 'node:test';
import { runCli } from '../../../../server/cli/program.ts';
import { tempDir } from '../../../support/tmp.ts';
import { fakeApi, fakeIo, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';
import { oneHost } from './one-host.ts';

let identity: Identity;
let stranger: Identity;

before(async () => {
  [identity, stranger] = await Promise.all([makeIdentity(), makeIdentity()]);
});

const api = (t: TestContext) => oneHost(t, identity);

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
