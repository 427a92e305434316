/** The API without TLS of its own, behind a proxy that ends TLS. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCliHere } from '../support/cli.ts';
import { launch } from '../support/launcher.ts';
import { type Cleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const PASSWORD = 'correct horse battery';
const CLIENT = '192.0.2.7';
const VIA_PROXY = { 'x-forwarded-proto': 'https', 'x-forwarded-for': CLIENT };

async function plainServer(t: Cleanup, ...args: string[]) {
  const dataDir = join(await tempDir(t, 'plain'), 'data');
  const listen = ['--api-listen', '127.0.0.1:0', '--agent-listen', '127.0.0.1:0'];
  const started = launch(t, 'server', ['--data-dir', dataDir, ...listen, '--api-tls', 'off', ...args]);
  const runtime = await waitFor(
    'a ready server',
    async () => JSON.parse(await readFile(join(dataDir, 'runtime.json'), 'utf8')),
    {
      context: () => started.transcript(),
      failed: () => (started.exit === undefined ? undefined : 'it ended'),
    },
  );
  const tokenFile = join(dataDir, 'admin-token');
  const token = (await readFile(tokenFile, 'utf8')).trim();
  const url: string = runtime.apiUrl;
  const ask = async (path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const json = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    return await fetch(new URL(path, url), { ...json, headers: { 'content-type': 'application/json', ...headers } });
  };
  return { url, ask, tokenFile, bearer: { authorization: `Bearer ${token}` } };
}

test('tokens are taken, and passwords only behind a proxy whose word counts', async (t) => {
  const bare = await plainServer(t);
  assert.match(bare.url, /^http:/);
  assert.equal((await bare.ask('/healthz')).status, 200);
  assert.equal((await bare.ask('/api/v1/whoami')).status, 401);
  assert.equal((await bare.ask('/api/v1/whoami', undefined, bare.bearer)).status, 200);
  const listed = await runCliHere(['--server', bare.url, '--api-token-file', bare.tokenFile, 'host', 'ls']);
  assert.equal(listed.exit?.code, 0, listed.transcript());
  const login = { user: 'ann', password: PASSWORD };
  const ann = { name: 'ann', password: PASSWORD, role: 'viewer' };
  assert.equal((await bare.ask('/api/v1/users', ann, bare.bearer)).status, 201);
  const refused = await bare.ask('/api/v1/login', login, VIA_PROXY);
  assert.match(await refused.text(), /"code":"CONFLICT".*needs HTTPS/);

  const behind = await plainServer(t, '--trust-proxy');
  assert.equal((await behind.ask('/api/v1/users', ann, behind.bearer)).status, 201);
  const answer = await behind.ask('/api/v1/login', login, VIA_PROXY);
  assert.equal(answer.status, 200, await answer.text());
  const [cookie = ''] = answer.headers.getSetCookie();
  assert.match(cookie, /; Secure/);
  const headers = { ...VIA_PROXY, cookie: cookie.split(';')[0] ?? '' };
  assert.equal((await behind.ask('/api/v1/whoami', undefined, headers)).status, 200);
  const { items } = (await (await behind.ask('/api/v1/audit?action=login', undefined, behind.bearer)).json()) as Rows;
  assert.equal(items[0]?.address, CLIENT);
});

interface Rows {
  readonly items: readonly { readonly address: string }[];
}
