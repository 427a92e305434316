/** The CA's keys: another passphrase while no server runs, and a root that lives on another machine. */
import assert from 'node:assert/strict';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { certificateBlocks } from '../../certs/pem.ts';
import { spkiPin } from '../../certs/pin.ts';
import { runCliHere } from '../support/cli.ts';
import { fetchBlindly } from '../support/http.ts';
import { launchCommand, run } from '../support/launcher.ts';
import { enroll, modeOf, type Server, serverArgs, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';

const shared = fileCleanup();
let server: Server;
let files: string;

async function cli(...args: string[]): Promise<string> {
  const done = await runCliHere(args);
  assert.equal(done.exit.code, 0, done.transcript());
  return done.stdout;
}

/** As administrator of `server`. */
async function admin(...args: string[]): Promise<string> {
  const token = join(server.dataDir, 'admin-token');
  return await cli('--server', server.runtime.apiUrl, '--api-token-file', token, ...args);
}

async function openssl(cleanup: Cleanup, ...args: string[]): Promise<void> {
  const done = launchCommand(cleanup, 'openssl', args, { input: '' });
  assert.equal((await done.exited).code, 0, done.transcript());
}

async function reseal(dataDir: string, ...args: string[]) {
  return await run(shared, 'server', [...serverArgs(dataDir), ...args]);
}

test('the passphrase is changed while no server runs, and a wrong one changes nothing', async () => {
  files = await tempDir(shared, 'files');
  const [one, two] = [join(files, 'one'), join(files, 'two')];
  await writeFile(one, 'correct horse\n', { mode: 0o600 });
  await writeFile(two, 'battery staple\n', { mode: 0o600 });
  server = await startServer(shared, { args: ['--ca-passphrase-file', one] });
  const { dataDir } = server;
  const busy = await reseal(dataDir, '--ca-passphrase-file', one, '--change-ca-passphrase-file', two);
  assert.equal(busy.exit.code, 1);
  assert.match(busy.stderr, /fairlead-server: .*another/);
  await server.process.stop();

  const wrong = await reseal(dataDir, '--ca-passphrase-file', two, '--change-ca-passphrase-file', one);
  assert.equal(wrong.exit.code, 1);
  assert.equal(
    wrong.stderr,
    'fairlead-server: the sealed key cannot be opened: the passphrase is wrong or it was damaged\n',
  );
  const both = await reseal(dataDir, '--change-ca-to-master-key', '--change-ca-passphrase-file', two);
  assert.equal(both.exit.code, 2);

  const done = await reseal(dataDir, '--ca-passphrase-file', one, '--change-ca-passphrase-file', two);
  assert.equal(done.exit.code, 0, done.transcript());
  assert.match(done.stdout, /rest under the new passphrase now; start the server with the new file/);
  const old = await reseal(dataDir, '--ca-passphrase-file', one);
  assert.equal(old.exit.code, 1);
  assert.match(old.stderr, /the passphrase is wrong/);

  const back = await reseal(dataDir, '--ca-passphrase-file', two, '--change-ca-to-master-key');
  assert.equal(back.exit.code, 0, back.transcript());
  assert.equal(await modeOf(join(dataDir, 'master.key')), 0o600);
  const { caFingerprint } = server.runtime;
  server = await startServer(shared, { dataDir });
  assert.equal(server.runtime.caFingerprint, caFingerprint);
  const audit = (await server.api.get('/api/v1/audit?limit=50')).text;
  assert.match(audit, /ca\.reseal/);
  assert.doesNotMatch(audit + server.process.stderr, /correct horse|battery staple/);
});

test('an offline root signs an intermediate, which then issues; hosts enroll by the root alone', async (t) => {
  const passphrase = join(files, 'offline');
  await writeFile(passphrase, 'only on paper\n', { mode: 0o600 });
  const root = join(files, 'root');
  const path = (name: string) => join(files, name);
  assert.match(
    await cli('ca', 'init', '--offline', '--out', root, '--passphrase-file', passphrase),
    /fingerprint is sha256:/,
  );
  assert.equal(await modeOf(join(root, 'root.key')), 0o600);
  assert.deepEqual((await readdir(root)).sort(), ['root.key', 'root.pem']);
  const twice = await runCliHere(['ca', 'init', '--offline', '--out', root, '--passphrase-file', passphrase]);
  assert.match(twice.stderr, /is there already and is not overwritten/);

  await admin('ca', 'request', '--out', path('request.pem'));
  const sign = ['ca', 'sign', '--root', root, '--passphrase-file', passphrase];
  assert.match(await cli(...sign, path('request.pem'), '--out', path('signed.pem')), /Signed an intermediate/);
  assert.match(await admin('ca', 'import', path('signed.pem')), /published/);
  await cp(join(server.dataDir, 'admin-token'), path('old-token'));
  await admin('ca', 'rotate', '--activate');
  // A token that names the old root leads to the intermediate that signs the log now.
  const asBefore = ['--server', server.runtime.apiUrl, '--api-token-file', path('old-token')];
  assert.match(await cli(...asBefore, 'audit', '--verify'), /The audit log is whole/);
  await admin('ca', 'rotate', '--retire');
  assert.match(await admin('audit', '--verify'), /The audit log is whole/);
  await admin('ca', 'export', '--out', path('ca.pem'));
  await admin('audit', '--export', '--out', path('audit.ndjson'));
  const kept = ['audit', '--verify', '--file', path('audit.ndjson'), '--ca-file', path('ca.pem')];
  assert.match(await cli(...kept), /The audit log is whole/);

  const rootPem = await readFile(join(root, 'root.pem'), 'utf8');
  const pin = spkiPin(rootPem);
  const view = (await fetchBlindly(new URL('/api/v1/ca', server.runtime.apiUrl).href)).text;
  assert.equal(JSON.parse(view).fingerprint, pin);
  assert.deepEqual(
    JSON.parse(view).roots.map(({ offline }: { offline: boolean }) => offline),
    [true],
  );
  assert.match(await admin('ca', 'show'), /Intermediate until/);

  // The server again, so that what is trusted comes from the store, and a client of what it publishes now.
  await server.process.stop();
  server = await startServer(shared, { dataDir: server.dataDir });
  assert.equal(server.runtime.caFingerprint, pin);
  const host = await enroll(shared, server, 'below');
  startAgent(shared, host);
  await waitForState(server, 'below', 'online');
  assert.equal(await readFile(join(host.stateDir, 'ca.pem'), 'utf8'), rootPem);
  const [, intermediate = ''] = certificateBlocks(await readFile(join(host.stateDir, 'cert.pem'), 'utf8'));
  await writeFile(path('intermediate.pem'), intermediate);
  const strict = ['verify', '-x509_strict', '-CAfile', join(root, 'root.pem')];
  await openssl(t, ...strict, path('intermediate.pem'));
  const by = ['-untrusted', path('intermediate.pem'), '-purpose', 'sslclient'];
  await openssl(t, ...strict, ...by, join(host.stateDir, 'cert.pem'));
  const { host: address } = new URL(server.runtime.apiUrl);
  const connect = ['s_client', '-connect', address.replace('localhost', '127.0.0.1'), '-x509_strict'];
  const trust = ['-CAfile', join(root, 'root.pem'), '-verify_hostname', 'server.fairlead.internal'];
  await openssl(
    t,
    ...connect,
    ...trust,
    '-verify_return_error',
    '-servername',
    'server.fairlead.internal',
    '-no_ign_eof',
  );

  // The intermediate is renewed below the same root, and the host never notices.
  await admin('ca', 'request', '--out', path('again.pem'));
  await cli(...sign, '--days', '30', path('again.pem'), '--out', path('renewed.pem'));
  assert.match(await admin('ca', 'import', path('renewed.pem')), /renewed and in use/);
  assert.match(await admin('ca', 'show'), /Warning: the intermediate CA expires soon, in \d+ days/);
  assert.equal((await server.api.get('/api/v1/hosts/below')).body.state, 'online');
});
