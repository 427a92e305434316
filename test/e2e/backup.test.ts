/** A server that is lost and comes back from its backup on another data directory: every agent returns by itself. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { runCliHere } from '../support/cli.ts';
import { testContainer } from '../support/docker.ts';
import { addHost, enroll, modeOf, type Server, startServer, waitForState } from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';

const PASSPHRASE = 'a passphrase that is nowhere else';
const TICKING = ['sh', '-c', 'while true; do date +tick-%s; sleep 0.2; done'];

const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
});

const serials = async (from: Server): Promise<string[]> => {
  const { body } = await from.api.get('/api/v1/certificates?limit=100');
  return body.items.map(({ serial }: { serial: string }) => serial);
};

/** Follows the log until a line of it has come. */
async function tick(from: Server, host: string, container: string): Promise<void> {
  const response = await from.api.open('GET', `/api/v1/hosts/${host}/containers/${container}/logs?follow=1&tail=1`);
  response.on('error', () => undefined); // the server is killed while it is read
  const [chunk] = (await once(response, 'data')) as [Buffer];
  assert.match(chunk.toString(), /tick-/);
}

test('restored on another data directory, agents, tokens and logs go on', { timeout: 400_000 }, async (t) => {
  const [first, second] = [await addHost(t, server, 'first'), await addHost(t, server, 'second')];
  const { id: container } = await testContainer(t, { cmd: TICKING });
  await tick(server, 'first', container);
  const made = await server.api.post('/api/v1/api-tokens', { name: 'ci', role: 'viewer' });
  const dir = await tempDir(t, 'backup');
  const [file, secret, wrong] = ['b', 'passphrase', 'wrong'].map((name) => join(dir, name)) as [string, string, string];
  await writeFile(secret, `${PASSPHRASE}\n`, { mode: 0o600 });
  await writeFile(wrong, 'another\n', { mode: 0o600 });

  const access = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  const backup = await runCliHere(['backup', ...access, '--out', file, '--passphrase-file', secret]);
  assert.equal(backup.exit.code, 0, backup.transcript());
  assert.match(backup.stdout, /Verified: +yes/);
  assert.equal(await modeOf(file), 0o600);
  const busy = await runCliHere([
    'restore',
    file,
    '--data-dir',
    server.dataDir,
    '--passphrase-file',
    secret,
    '--force',
  ]);
  assert.equal(busy.exit.code, 1);
  assert.match(busy.stderr, /in use by another fairlead-server/);
  const dataDir = join(dir, 'new', 'data');
  const refused = await runCliHere(['restore', file, '--data-dir', dataDir, '--passphrase-file', wrong]);
  assert.equal(refused.exit.code, 1);
  assert.match(refused.stderr, /^fairlead: the backup cannot be read: the passphrase is wrong[^\n]*\n$/);
  assert.deepEqual((await readdir(dir)).sort(), ['b', 'passphrase', 'wrong']);
  const before = await serials(server);
  // One that the backup does not know.
  await enroll(t, server, 'late');
  const late = (await serials(server)).filter((serial) => !before.includes(serial));
  await server.process.kill();

  const restored = await runCliHere(['restore', file, '--data-dir', dataDir, '--passphrase-file', secret]);
  assert.equal(restored.exit.code, 0, restored.transcript());
  assert.match(restored.stdout, /^Restored installation .*--public-host.*revoke it again/s);

  await writeFile(join(dataDir, 'admin-token'), server.adminToken, { mode: 0o600 });
  const ports = {
    apiPort: Number(new URL(server.runtime.apiUrl).port),
    agentPort: Number(new URL(server.runtime.agentUrl).port),
  };
  const back = await startServer(t, { dataDir, ...ports });
  assert.equal(back.runtime.caFingerprint, server.runtime.caFingerprint);
  for (const agent of [first, second]) {
    const host = await waitForState(back, agent.name, 'online');
    assert.equal(host['id'], agent.hostId);
    assert.equal(agent.process.exit, undefined, agent.process.transcript());
  }
  await tick(back, 'first', container);
  assert.equal((await back.api.get('/api/v1/whoami', { token: made.body.token })).body.name, 'ci');
  assert.equal((await back.api.get('/api/v1/hosts/late')).status, 404);

  await enroll(t, back, 'afterwards');
  const after = await serials(back);
  assert.equal(new Set(after).size, after.length);
  const fresh = after.filter((serial) => !before.includes(serial));
  assert.equal(fresh.length, 1);
  for (const serial of fresh) assert.ok(![...before, ...late].includes(serial), `${serial} was issued twice`);

  const audit = await back.api.get('/api/v1/audit?limit=100');
  assert.match(audit.text, /"action":"backup.restore"/);
  for (const told of [backup, busy, refused, restored, server.process, back.process]) {
    assert.ok(!told.transcript().includes(PASSPHRASE), told.name);
  }
  assert.ok(!audit.text.includes(PASSPHRASE) && !(await readFile(file)).includes(PASSPHRASE));
});
