/** `hawser add` and `set`: what the options become, and which of them contradict each other. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { tempDir } from '../../../support/tmp.ts';
import { fakeApi, type Identity, makeIdentity, runAgainst } from './fixtures.ts';

const PATH = '/api/v1/hawser-hosts';
const PIN = `sha256:${'ab'.repeat(32)}`;
const PROXY = 'http://ann:hidden@proxy:3128';
const URL_OPTION = ['--url', 'https://nas:2376'];
const VIEW = {
  ...{ host: { id: 'h1', name: 'nas' }, url: 'https://nas:2376/', ca: null, pin: PIN, proxy: 'http://proxy:3128/' },
  ...{ insecureHttp: false, online: true, checkedAt: '2029-12-31T23:59:00Z', error: null },
  ...{ changedBy: 'ann', changedAt: '2029-12-31T23:00:00Z' },
};
let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

/** A server with one host, and a file each with a token, a CA and the URL of a proxy. */
async function serving(t: TestContext) {
  const server = await fakeApi(t, identity);
  server.on(`POST ${PATH}`, () => VIEW);
  server.on(`PATCH ${PATH}/nas`, () => VIEW);
  const dir = await tempDir(t, 'hawser');
  const file = async (name: string, text: string) => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  return {
    server,
    run: (...args: string[]) => runAgainst(server, ['hawser', ...args]),
    token: ['--token-file', await file('token', 'secret\n')],
    ca: ['--ca-file', await file('ca.pem', 'PEM\n')],
    proxy: ['--proxy-file', await file('proxy', `${PROXY}\n`)],
    empty: await file('empty', '\n'),
  };
}

test('a host is added with a pin, through a proxy whose password is in a file alone', async (t) => {
  const { server, run, token, proxy } = await serving(t);
  const { code, out, err } = await run('add', 'nas', ...URL_OPTION, ...token, ...proxy, '--pin', PIN, '--tag', 'lab');
  assert.deepEqual([code, err], [0, '']);
  const way = { url: 'https://nas:2376', token: 'secret', pin: PIN, proxy: PROXY };
  assert.deepEqual(server.requests.at(-1)?.body, { name: 'nas', ...way, tags: ['lab'] });
  assert.match(out, new RegExp(`^Trust: +${PIN}$`, 'm'));
  assert.match(out, /^State: +online$/m);
  assert.ok(!out.includes('secret') && !out.includes('hidden'), out);
});

test('a change names what it changes, and null for what goes', async (t) => {
  const { server, run, ca, proxy } = await serving(t);
  for (const [args, body] of [
    [['--pin', PIN], { pin: PIN }],
    [ca, { ca: 'PEM\n' }],
    [['--proxy', 'http://proxy:3128'], { proxy: 'http://proxy:3128' }],
    [proxy, { proxy: PROXY }],
    [['--system-ca'], { ca: null, pin: null }],
    [['--direct'], { proxy: null }],
    [['--direct', '--pin', PIN], { proxy: null, pin: PIN }],
  ] as const) {
    const { code, err } = await run('set', 'nas', ...args);
    assert.equal(code, 0, err);
    assert.deepEqual(server.requests.at(-1)?.body, body);
  }
  const json = await run('set', 'nas', '--direct', '--json');
  assert.deepEqual(JSON.parse(json.out), VIEW);
});

test('what contradicts itself, or would show a password, is refused before any request', async (t) => {
  const { server, run, token, ca, proxy, empty } = await serving(t);
  const add = ['add', 'nas', ...URL_OPTION, ...token];
  for (const [args, why] of [
    [['set', 'nas'], /give an option/],
    [['set', 'nas', ...ca, '--pin', PIN], /cannot be used with/],
    [['set', 'nas', ...proxy, '--proxy', 'http://proxy:3128'], /cannot be used with/],
    [['set', 'nas', '--system-ca', '--pin', PIN], /cannot be used with/],
    [['set', 'nas', '--system-ca', ...ca], /cannot be used with/],
    [['set', 'nas', '--direct', '--proxy', 'http://proxy:3128'], /cannot be used with/],
    [['set', 'nas', '--direct', ...proxy], /cannot be used with/],
    [[...add, '--proxy', PROXY], /--proxy-file/],
    [[...add, '--proxy', 'http://:hidden@proxy:3128'], /--proxy-file/],
    [[...add, '--proxy-file', empty], /nothing in the proxy file/],
    [['add', 'nas', ...URL_OPTION], /--token-file/],
  ] as const) {
    const { code, err } = await run(...args);
    assert.equal(code, 2, `${args.join(' ')}: ${err}`);
    assert.match(err, why);
    assert.ok(!err.includes('hidden'), err);
  }
  assert.deepEqual(
    server.requests.filter(({ method }) => method !== 'GET'),
    [],
  );
});
