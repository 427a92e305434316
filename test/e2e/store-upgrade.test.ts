/** A server over the store of an older version, and one over that of a newer version. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import Database from 'better-sqlite3';
import { SCHEMA_VERSION } from '../../server/store/migrate.ts';
import { readSchemaState } from '../../server/store/schema-state.ts';
import { VERSION } from '../../shared/version.ts';
import { run } from '../support/launcher.ts';
import {
  enroll,
  restartServer,
  type Server,
  serverArgs,
  startAgent,
  startServer,
  waitForState,
} from '../support/mesh.ts';
import { takeBackTo } from '../support/old-store.ts';
import { fileCleanup } from '../support/tmp.ts';

/** A schema with the chain of the audit log, without stacks, events and what came later. */
const OLD_SCHEMA = 6;
const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
});

test('an older store goes forward with hosts, tokens, the CA and the audit log, and its agents come back', async () => {
  const agent = await enroll(shared, server, 'shed');
  await server.api.request('PATCH', '/api/v1/hosts/shed', { body: { addTags: ['lab'] } });
  const { body: viewer } = await server.api.post('/api/v1/api-tokens', { name: 'ci', role: 'viewer' });
  const { caFingerprint } = server.runtime;
  await server.process.stop();
  const counts = await takeBackTo(server.dataDir, OLD_SCHEMA);
  assert.ok((counts['audit'] ?? 0) >= 3 && counts['hosts'] === 1, JSON.stringify(counts));

  server = await restartServer(shared, server, 'stop');
  assert.match(server.process.stderr, /brought to the schema of this version/);
  assert.equal(server.runtime.caFingerprint, caFingerprint);
  const { body: host } = await server.api.get('/api/v1/hosts/shed', { token: viewer.token });
  assert.deepEqual([host.id, host.tags], [agent.hostId, ['lab']]);
  const rows = (await server.api.get('/api/v1/audit?limit=500')).body.items;
  assert.ok(rows.length >= (counts['audit'] ?? 0));
  assert.equal((await server.api.get('/api/v1/audit/verify')).body.ok, true);
  startAgent(shared, agent);
  await waitForState(server, 'shed', 'online');
  const copy = join(server.dataDir, `fairlead.db.before-${VERSION}`);
  assert.equal(readSchemaState(copy).schemaVersion, OLD_SCHEMA);
});

test('a newer store ends the start in one sentence that says which version to use, and stays as it is', async () => {
  await server.process.stop();
  const file = join(server.dataDir, 'fairlead.db');
  const database = new Database(file);
  database.prepare('insert into schema_version (version) values (?)').run(SCHEMA_VERSION + 3);
  database.prepare("update settings set value = ? where key = 'store.writer'").run(Buffer.from('7.8.9'));
  database.close();
  const names = (await readdir(server.dataDir)).sort();
  const bytes = await readFile(file);
  const refused = await run(shared, 'server', serverArgs(server.dataDir));
  assert.equal(refused.exit.code, 1, refused.transcript());
  assert.equal(refused.stdout, '');
  const lines = refused.stderr.trimEnd().split('\n');
  assert.equal(lines.length, 1, refused.stderr);
  assert.match(lines[0] ?? '', /^fairlead-server: the store in .* made by the newer fairlead-server 7\.8\.9, /);
  assert.match(lines[0] ?? '', /start 7\.8\.9 again/);
  assert.ok(bytes.equals(await readFile(file)));
  assert.deepEqual((await readdir(server.dataDir)).sort(), names);
});
