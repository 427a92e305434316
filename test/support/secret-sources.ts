/** Sorts of secrets that come with signing in, backups, the life of the CA and the audit log, used rightly and wrongly. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import { parseToken, type TokenPrefix } from '../../certs/enrollment-token.ts';
import { unsealKey } from '../../certs/key-at-rest.ts';
import { deriveKey, HEADER_BYTES, readHeader } from '../../server/backup/header.ts';
import type { Api } from './http.ts';
import type { Launched, LaunchOptions, Program } from './launcher.ts';
import type { Server } from './mesh.ts';
import type { Evidence, Secrets } from './secrets.ts';
import type { Cleanup } from './tmp.ts';
import { waitFor } from './wait.ts';

/** What the sources of secrets share. */
export interface Run {
  readonly cleanup: Cleanup;
  readonly secrets: Secrets;
  /** Of this server the CA's key rests under a passphrase. */
  readonly server: Server;
  /** All files in it are evidence. */
  readonly dir: string;
  readonly passphraseFile: string;
  readonly stateDir: string;
  readonly configDir: string;
  readonly container: string;
  /** As admin; keeps every answer as evidence. */
  readonly api: Api;
  /** What was answered, and all that programs have said. */
  readonly evidence: Evidence[];
  /** Runs a program with everything logged; what it says is evidence. */
  run(program: Program, args: readonly string[], options?: LaunchOptions): Promise<Launched>;
  /** Lets the enrolled agent hold its session from now on, as host `shed`. */
  startAgent(): Promise<void>;
}

/** One sort of secret: made, entered into `run.secrets` with the places where it belongs, and used, rightly and wrongly. */
export type Source = (run: Run) => Promise<void>;

export function addToken(
  secrets: Secrets,
  name: string,
  prefix: TokenPrefix,
  token: string,
  homes: readonly string[] = [],
): void {
  secrets.add(name, token, homes);
  secrets.add(`the secret in ${name}`, parseToken(prefix, token).secret, homes);
}

/** By the file that `login` has written. @throws unless it ends with 0 */
async function cli({ run, configDir }: Run, args: readonly string[], input = ''): Promise<Launched> {
  const done = await run('cli', args, { env: { XDG_CONFIG_HOME: configDir }, input });
  assert.equal(done.exit?.code, 0, done.transcript());
  return done;
}

async function secretFile({ secrets, dir }: Run, name: string, value: string): Promise<string> {
  const file = join(dir, name.replaceAll(/\W+/g, '-'));
  await writeFile(file, `${value}\n`, { mode: 0o600 });
  secrets.add(name, value, [file]);
  return file;
}

async function rotatedTokens(it: Run): Promise<void> {
  const { secrets, server, dir, api } = it;
  const first = (await server.api.post('/api/v1/api-tokens', { name: 'rotated', role: 'admin' })).body;
  const next = (await server.api.post(`/api/v1/api-tokens/${first.id}/rotate`, { overlapSeconds: 3600 })).body;
  addToken(secrets, 'a token that was rotated', 'fla1', first.token);
  addToken(secrets, 'its successor', 'fla1', next.token);
  const out = join(dir, 'rotated-token');
  await cli(it, ['apitoken', 'rotate', next.id, '--out', out]);
  addToken(secrets, 'the successor that the CLI has written', 'fla1', (await readFile(out, 'utf8')).trim(), [out]);
  assert.equal((await api.get('/api/v1/hosts', { token: first.token })).status, 200);
  assert.equal((await api.get('/api/v1/hosts', { token: next.token })).status, 401);
  assert.equal((await api.post(`/api/v1/api-tokens/${first.id}/rotate`, {}, { token: first.token })).status, 409);
  await api.get('/api/v1/api-tokens');
}

async function operatorKey(it: Run): Promise<void> {
  const { secrets, server, dir, evidence } = it;
  const out = join(dir, 'operator');
  await cli(it, ['operator', 'create', 'oli', '--role', 'viewer', '--out', out]);
  const [cert, key] = await Promise.all(['cert.pem', 'key.pem'].map((name) => readFile(join(out, name), 'utf8')));
  assert.ok(key !== undefined);
  secrets.addKey("an operator's key", key, [join(out, 'key.pem')]);
  for (const path of ['/api/v1/whoami', '/api/v1/audit', '/nowhere']) {
    await new Promise<void>((resolve, reject) => {
      const ask = https.get(new URL(path, server.runtime.apiUrl), { cert, key, ca: server.caPem, agent: false });
      ask.on('error', reject).on('response', async (response) => {
        const content = Buffer.concat(await response.toArray());
        evidence.push({ place: `the answer to an operator's GET ${path}`, content });
        resolve();
      });
    });
  }
  await cli(it, ['operator', 'ls']);
}

async function passwordAndSession(it: Run): Promise<void> {
  const { secrets, server, api, run, configDir } = it;
  const [password, changed, wrong] = ['first/correct+horse', 'second/correct+horse', 'a wrong/password'];
  for (const [name, value] of Object.entries({ password, changed, wrong })) secrets.add(`a password: ${name}`, value);
  await cli(it, ['user', 'create', 'ann', '--role', 'operator'], `${password}\n`);
  await cli(it, ['user', 'passwd', 'ann'], `${changed}\n`);
  const again = await run('cli', ['user', 'create', 'ann', '--role', 'operator'], {
    env: { XDG_CONFIG_HOME: configDir },
    input: `${changed}\n`,
  });
  assert.notEqual(again.exit?.code, 0);
  assert.equal((await api.post('/api/v1/users', { name: 'bea', role: 'king', password: changed })).status, 400);
  for (const body of [{ user: 'ann', password: wrong }, { user: 'ann', password, remember: true }, { password }]) {
    assert.notEqual((await api.post('/api/v1/login', body, { token: null })).status, 200);
  }
  // By the server's own client, whose answers are not kept: a login shows its secrets to whoever logs in.
  const login = await server.api.post('/api/v1/login', { user: 'ann', password: changed }, { token: null });
  assert.equal(login.status, 200, login.text);
  const [cookie = ''] = (login.headers['set-cookie']?.[0] ?? '').split(';');
  secrets.add("a session's secret", cookie.slice(cookie.indexOf('=') + 1));
  secrets.add("a session's CSRF token", login.body.csrfToken);
  const by = { token: null, headers: { cookie } };
  const csrf = { token: null, headers: { cookie, 'x-csrf-token': login.body.csrfToken } };
  assert.equal((await api.get('/api/v1/whoami', by)).status, 200);
  assert.equal((await api.post('/api/v1/hosts/nobody/ping', {}, by)).status, 403);
  assert.equal((await api.post('/api/v1/hosts/nobody/ping', {}, csrf)).status, 404);
  assert.equal((await api.get('/api/v1/whoami', { token: null, headers: { cookie: `${cookie}x` } })).status, 401);
  assert.equal((await api.post('/api/v1/logout', undefined, csrf)).status, 204);
  assert.equal((await api.get('/api/v1/whoami', by)).status, 401);
  await api.get('/api/v1/users');
}

async function backupSecrets(it: Run): Promise<void> {
  const { secrets, dir, api, run } = it;
  const passphrase = 'only on paper/and+nowhere else';
  const file = await secretFile(it, "the backup's passphrase", passphrase);
  const wrong = await secretFile(it, 'a wrong passphrase of the backup', 'not on paper/not+anywhere');
  const out = join(dir, 'fairlead.backup');
  await cli(it, ['backup', '--out', out, '--passphrase-file', file]);
  const key = await deriveKey(passphrase, readHeader((await readFile(out)).subarray(0, HEADER_BYTES)));
  secrets.add("the backup's key", key);
  const target = ['--data-dir', join(dir, 'restored')];
  assert.notEqual((await run('cli', ['restore', out, ...target, '--passphrase-file', wrong])).exit?.code, 0);
  const restored = await run('cli', ['restore', out, ...target, '--passphrase-file', file]);
  assert.equal(restored.exit?.code, 0, restored.transcript());
  const recipe = { key: key.toString('base64'), salt: Buffer.alloc(16, 1).toString('base64'), log2N: 99, r: 8, p: 1 };
  assert.equal((await api.post('/api/v1/backup', recipe)).status, 400);
  assert.equal((await api.post(`/api/v1/backup?key=${encodeURIComponent(recipe.key)}`, {})).status, 400);
}

/** An offline root takes over: the CA of before stays for a while, the intermediate issues, agents get new keys. */
async function caLife(it: Run): Promise<void> {
  const { secrets, dir, stateDir, run } = it;
  const passphrase = 'of the root alone/on+paper';
  const file = await secretFile(it, "the offline root's passphrase", passphrase);
  const wrong = await secretFile(it, 'a wrong passphrase of the offline root', 'of no root at all/nowhere');
  const path = (name: string) => join(dir, name);
  await cli(it, ['ca', 'init', '--offline', '--out', path('root'), '--passphrase-file', file]);
  const sealed = Buffer.from(await readFile(path('root/root.key'), 'utf8'), 'base64');
  secrets.addKey("the offline root's key", await unsealKey(sealed, passphrase));
  await cli(it, ['ca', 'request', '--out', path('request.pem')]);
  const sign = ['ca', 'sign', '--root', path('root'), path('request.pem'), '--out', path('signed.pem')];
  assert.notEqual((await run('cli', [...sign, '--passphrase-file', wrong])).exit?.code, 0);
  await cli(it, [...sign, '--passphrase-file', file]);
  await cli(it, ['ca', 'import', path('signed.pem')]);
  const keyFile = join(stateDir, 'key.pem');
  const before = await readFile(keyFile, 'utf8');
  await cli(it, ['ca', 'rotate', '--activate', '--force']);
  const isNew = async () => (await readFile(keyFile, 'utf8')) !== before;
  await waitFor("the agent's renewal", isNew, { timeoutMs: 120_000, everyMs: 200 });
  // The one before belongs nowhere any more. The new one was in renewal.json first, and may be there still.
  const renewed = await readFile(keyFile, 'utf8');
  secrets.addKey("the agent's renewed key", renewed, [keyFile, join(stateDir, 'renewal.json')]);
}

async function auditExport(it: Run): Promise<void> {
  await cli(it, ['audit', '--export', '--out', join(it.dir, 'audit-export.ndjson')]);
  await cli(it, ['audit', '--verify']);
}

/** Unpacked, so that what is in them is looked through. */
async function supportBundles(it: Run): Promise<void> {
  const path = (name: string) => join(it.dir, name);
  await cli(it, ['support-bundle', '--out', path('support.tar.gz')]);
  const own = ['support-bundle', '--state-dir', it.stateDir, '--out', path('host.tar.gz')];
  assert.equal((await it.run('agent', own)).exit?.code, 0);
  for (const name of ['support.tar.gz', 'host.tar.gz']) {
    execFileSync('tar', ['-xzf', path(name), `--transform=s,^[^/]*,bundle-${name}.d,`, '-C', it.dir]);
  }
}

/** In the order of their use. */
export const LATER_SOURCES: Readonly<Record<string, Source>> = {
  'rotated API tokens': rotatedTokens,
  "an operator's key": operatorKey,
  'password and session of a user': passwordAndSession,
  'passphrase and key of a backup': backupSecrets,
  "keys of the CA's life": caLife,
  'export of the audit log': auditExport,
  'support bundles': supportBundles,
};
