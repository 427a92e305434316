/** Ways into the API without a token, with programs that know nothing of Fairlead: curl and openssl. */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { launchCommand } from '../support/launcher.ts';
import { addHost, modeOf, type Server, startServer } from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const PASSWORD = 'correct horse battery';
const shared = fileCleanup();
let server: Server;
let dir: string;

before(async () => {
  dir = await tempDir(shared, 'sign-in');
  server = await startServer(shared);
});

async function cli(args: string[], input = ''): Promise<CliRun> {
  const tokenFile = join(server.dataDir, 'admin-token');
  const env = { XDG_CONFIG_HOME: dir };
  return await runCliHere(['--server', server.runtime.apiUrl, '--api-token-file', tokenFile, ...args], {
    env,
    input,
  });
}

/** Runs a program to its end; what it printed. */
async function output(t: Cleanup, command: string, args: string[], input = ''): Promise<string> {
  const done = launchCommand(t, command, args, { input });
  await within(20_000, `the end of ${command}`, done.exited, () => done.transcript());
  return done.stdout + done.stderr;
}

/** The status and the body of what curl gets, by the certificates in `from`. */
async function curl(t: Cleanup, from: string, path: string, ...more: string[]): Promise<string> {
  const files = ['--cert', join(from, 'cert.pem'), '--key', join(from, 'key.pem'), '--cacert', join(from, 'ca.pem')];
  const url = server.runtime.apiUrl.replace('localhost', '127.0.0.1') + path;
  return await output(t, 'curl', ['-sS', '-w', '\n%{http_code}', ...files, ...more, url]);
}

test('the CLI makes what curl needs; an agent gets nowhere with its own, and an operator not to the agents’ port', async (t) => {
  const out = join(dir, 'ann');
  const made = await cli(['operator', 'create', 'ann', '--role', 'admin', '--ttl', '1d', '--out', out]);
  assert.equal(made.exit?.code, 0, made.transcript());
  assert.deepEqual((await readdir(out)).sort(), ['ca.pem', 'cert.pem', 'key.pem']);
  assert.deepEqual([await modeOf(join(out, 'key.pem')), await modeOf(out)], [0o600, 0o700]);
  assert.match(await curl(t, out, '/api/v1/whoami'), /"tokenId":"cert:[0-9A-F]+","name":"ann","role":"admin".*\n200$/s);

  const again = await cli(['operator', 'create', 'ann', '--role', 'admin', '--out', out]);
  assert.equal(again.exit?.code, 1);
  assert.match(again.stderr, /already: choose an empty directory/);

  const agent = await addHost(t, server, 'edge');
  const refused = await curl(t, agent.stateDir, '/api/v1/whoami');
  assert.match(refused, /agent's.*\n401$/s);
  assert.match(await curl(t, agent.stateDir, '/healthz'), /\n200$/);

  const { port } = new URL(server.runtime.agentUrl);
  const files = ['-cert', join(out, 'cert.pem'), '-key', join(out, 'key.pem'), '-CAfile', join(out, 'ca.pem')];
  const ask = 'GET /agent HTTP/1.1\r\nHost: x\r\n\r\n';
  const s_client = ['s_client', '-quiet', '-connect', `127.0.0.1:${port}`, '-servername', INTERNAL_SERVER_NAME];
  assert.doesNotMatch(await output(t, 'openssl', [...s_client, ...files], ask), /HTTP\/1\.1/);
  const own = ['-cert', join(agent.stateDir, 'cert.pem'), '-key', join(agent.stateDir, 'key.pem')];
  assert.match(
    await output(t, 'openssl', [...s_client, ...own], ask),
    /HTTP\/1\.1 426/,
    'an agent gets an answer there',
  );
  await waitFor('the refusal in the log', () => server.process.stderr.includes('names no agent of this installation'));

  const { port: apiPort } = new URL(server.runtime.apiUrl);
  const reconnect = ['s_client', '-connect', `127.0.0.1:${apiPort}`, '-reconnect', ...files];
  for (const version of ['-tls1_2', '-tls1_3']) {
    const text = await output(t, 'openssl', [...reconnect, version]);
    assert.match(text, /New, TLSv1\.[23]/);
    assert.doesNotMatch(text, /Reused, /);
  }

  const serial = /Serial:?\s+([0-9A-F]{32})/.exec(made.stdout)?.[1] ?? '';
  assert.match((await cli(['operator', 'ls'])).stdout, new RegExp(`${serial} +ann +admin +active`));
  assert.equal((await cli(['operator', 'rm', serial])).exit?.code, 0);
  assert.match(await curl(t, out, '/api/v1/whoami'), /revoked.*\n401$/s);
});

test('a user logs in by password with curl, and is gone with the user', async (t) => {
  const add = ['user', 'create', 'bea', '--role', 'viewer'];
  const made = await cli([...add, '--tag', 'eu'], `${PASSWORD}\n`);
  assert.equal(made.exit?.code, 0, made.transcript());
  assert.match((await cli([...add], 'too short')).stderr, /not acceptable|already|at least 12/);

  const ca = join(dir, 'server-ca.pem');
  await writeFile(ca, server.caPem);
  const jar = ['--cookie-jar', join(dir, 'jar'), '--cookie', join(dir, 'jar')];
  const api = (path: string) => server.runtime.apiUrl + path;
  const json = ['-H', 'content-type: application/json'];
  const body = (password: string) => ['--data-binary', JSON.stringify({ user: 'bea', password })];
  const login = (password: string) =>
    output(t, 'curl', ['-sS', '-i', '--cacert', ca, ...jar, ...json, ...body(password), api('/api/v1/login')]);
  assert.match(await login('wrong password'), /^HTTP\/1\.1 401/);
  const answer = await login(PASSWORD);
  assert.match(answer, /^HTTP\/1\.1 200/);
  assert.match(answer, /^set-cookie: __Host-fairlead=[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Strict\r$/im);
  const { csrfToken } = JSON.parse(answer.split('\r\n\r\n')[1] ?? '');
  const get = () => output(t, 'curl', ['-sS', '--cacert', ca, ...jar, api('/api/v1/session')]);
  assert.match(await get(), /"user":"bea","role":"viewer".*"tags":\["eu"\]/);
  const logout = [
    '-sS',
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}',
    '-X',
    'POST',
    '--cacert',
    ca,
    ...jar,
    api('/api/v1/logout'),
  ];
  assert.equal(await output(t, 'curl', logout), '403');
  assert.equal(await output(t, 'curl', ['-H', `x-csrf-token: ${csrfToken}`, ...logout]), '204');
  assert.match(await get(), /UNAUTHORIZED/);
  await login(PASSWORD);
  const changed = await cli(['user', 'passwd', 'bea'], 'another long password');
  assert.equal(changed.exit?.code, 0, changed.transcript());
  assert.match(await get(), /UNAUTHORIZED/);
  assert.match((await cli(['user', 'ls'])).stdout, /bea +viewer/);
  assert.equal((await cli(['user', 'rm', 'bea'])).exit?.code, 0);
  assert.ok(!server.process.stderr.includes(PASSWORD));
});

test('SIGHUP puts a changed certificate of --api-tls files in place, and ends nothing', async (t) => {
  await server.process.stop();
  const pem = async (name: string) => {
    const files = [join(dir, `${name}.crt`), join(dir, `${name}.key`)] as const;
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-days', '90'];
    const args = ['req', '-x509', ...kind, '-subj', `/CN=${name}`, '-out', files[0], '-keyout', files[1]];
    await output(t, 'openssl', args);
    return files;
  };
  const [first, second] = [await pem('first'), await pem('second')];
  const args = ['--api-tls', 'files', '--api-cert', first[0], '--api-key', first[1]];
  const { dataDir } = server;
  server = await startServer(shared, { dataDir, args });
  const { host } = new URL(server.runtime.apiUrl);
  const serving = () => output(t, 'openssl', ['s_client', '-connect', host]);
  assert.match(await serving(), /CN = first/);
  await writeFile(first[0], await readFile(second[0]));
  await writeFile(first[1], await readFile(second[1]));
  server.process.signal('SIGHUP');
  await waitFor('the new certificate', async () => /CN = second/.test(await serving()), { everyMs: 100 });
  assert.equal(server.process.exit, undefined, server.process.transcript());
});
