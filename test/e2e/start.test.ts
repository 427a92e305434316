/** A server's life: first start, second start, a clean stop, and the starts that must fail with one clear sentence. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { decodeRecord, encodeRecord } from '../../server/authority/ca-record.ts';
import { testContainer } from '../support/docker.ts';
import { Api } from '../support/http.ts';
import { type Launched, run } from '../support/launcher.ts';
import { addHost, modeOf, serverArgs, startServer, waitForState } from '../support/mesh.ts';
import { tempDir } from '../support/tmp.ts';
import { within } from '../support/wait.ts';

/** The start failed, said why in few words, and without a stack trace. */
function assertRefused(failed: Launched, pattern: RegExp): void {
  assert.notEqual(failed.exit?.code, 0, failed.transcript());
  assert.equal(failed.exit?.signal, null, failed.transcript());
  assert.match(failed.stderr, pattern);
  assert.doesNotMatch(failed.stderr, /\n\s+at /, failed.transcript());
}

test('the first start makes everything, the second finds it again', async (t) => {
  const first = await startServer(t);
  assert.equal(await modeOf(join(first.dataDir, 'admin-token')), 0o600);
  assert.equal(await modeOf(first.dataDir), 0o700);
  assert.match(first.runtime.caFingerprint, /^sha256:[0-9a-f]{64}$/);
  assert.ok(!first.process.stderr.includes(first.adminToken), 'the admin token is in the log');
  assert.ok(!first.process.stdout.includes(first.adminToken), 'the admin token is printed');
  assert.equal((await first.api.get('/healthz')).status, 200);
  assert.equal((await first.api.get('/readyz')).status, 200);
  assert.equal((await first.api.get('/api/v1/ca')).body.fingerprint, first.runtime.caFingerprint);
  const agent = await addHost(t, first, 'keeper');
  assert.deepEqual(await first.process.stop(), { code: 0, signal: null });
  assert.ok(!(await readdir(first.dataDir)).includes('runtime.json'), 'runtime.json is left behind');

  const second = await startServer(t, {
    dataDir: first.dataDir,
    apiPort: Number(new URL(first.runtime.apiUrl).port),
    agentPort: Number(new URL(first.runtime.agentUrl).port),
  });
  assert.equal(second.runtime.caFingerprint, first.runtime.caFingerprint);
  assert.equal(second.adminToken, first.adminToken);
  await waitForState(second, agent.hostId, 'online');
});

test('SIGTERM and SIGINT stop a server cleanly within 10 s, with an agent and a followed log open', async (t) => {
  const { id } = await testContainer(t);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const server = await startServer(t);
    const agent = await addHost(t, server, 'busy');
    const log = await server.api.open('GET', `/api/v1/hosts/busy/containers/${id}/logs?follow=1`);
    const cut = new Promise<string>((resolve) => {
      log.once('error', () => resolve('error'));
      log.once('end', () => resolve('end'));
      log.resume();
    });
    server.process.signal(signal);
    const end = await within(10_000, 'the stop', server.process.exited, () => server.process.transcript());
    assert.deepEqual(end, { code: 0, signal: null }, server.process.transcript());
    assert.equal(await cut, 'error', 'a log that the stop broke off must not look complete');
    assert.equal(agent.process.exit, undefined, 'the agent waits for the server to come back');
  }
});

test('a data directory that is in use is refused, and the server that uses it goes on', async (t) => {
  const server = await startServer(t);
  const second = await run(t, 'server', serverArgs(server.dataDir));
  assertRefused(second, /in use by another/);
  assert.equal((await server.api.get('/readyz')).status, 200);
  assert.equal(JSON.parse(await readFile(join(server.dataDir, 'runtime.json'), 'utf8')).pid, server.process.pid);
});

test('a data directory is free again after its server was killed', async (t) => {
  const server = await startServer(t);
  await server.process.kill();
  const again = await startServer(t, { dataDir: server.dataDir });
  assert.equal(again.runtime.caFingerprint, server.runtime.caFingerprint);
});

test('a port in use is refused with the address in the message', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  for (const ports of [{ apiPort: port }, { agentPort: port }]) {
    const dataDir = join(await tempDir(t), 'data');
    const failed = await run(t, 'server', serverArgs(dataDir, ports));
    assertRefused(failed, new RegExp(`127\\.0\\.0\\.1:${port}`));
    assert.equal(existsSync(dataDir), false, 'nothing is left behind');
  }
});

test('the CA opens with its passphrase and with no other', async (t) => {
  const dir = await tempDir(t);
  const right = join(dir, 'right');
  const wrong = join(dir, 'wrong');
  await writeFile(right, 'correct horse\n', { mode: 0o600 });
  await writeFile(wrong, 'battery staple\n', { mode: 0o600 });
  const args = ['--ca-passphrase-file', right];
  const server = await startServer(t, { dataDir: join(dir, 'data'), args });
  await server.process.stop();
  const refused = await run(t, 'server', serverArgs(server.dataDir, { args: ['--ca-passphrase-file', wrong] }));
  assertRefused(refused, /passphrase/i);
  assert.ok(!refused.stderr.includes('battery staple'));
  const none = await run(t, 'server', serverArgs(server.dataDir));
  assertRefused(none, /passphrase/i);
  const again = await startServer(t, { dataDir: server.dataDir, args });
  assert.equal(again.runtime.caFingerprint, server.runtime.caFingerprint);
});

test('with one byte of the CA changed no server starts, and nothing is overwritten', async (t) => {
  const server = await startServer(t);
  await server.process.stop();
  const file = join(server.dataDir, 'fairlead.db');
  const withStore = <T>(use: (database: Database.Database) => T): T => {
    const database = new Database(file);
    try {
      return use(database);
    } finally {
      database.close();
    }
  };
  const stored = () =>
    withStore((database) => database.prepare("select value from settings where key = 'authority.ca'").pluck().get());
  const record = decodeRecord(stored() as Buffer);
  const sealed = Buffer.from(record.current.sealedKey, 'base64');
  sealed[sealed.length - 20] = (sealed.at(-20) ?? 0) ^ 1;
  const damaged = encodeRecord({ ...record, current: { ...record.current, sealedKey: sealed.toString('base64') } });
  withStore((database) => database.prepare("update settings set value = ? where key = 'authority.ca'").run(damaged));
  const ports = { apiPort: Number(new URL(server.runtime.apiUrl).port) };
  const refused = await run(t, 'server', serverArgs(server.dataDir, ports));
  assertRefused(refused, /master\.key|damaged/);
  assert.ok(!refused.stderr.includes('the API listens'), refused.transcript());
  assert.deepEqual(stored(), damaged);
});

test('bad usage exits with 2, help and version with 0', async (t) => {
  const programs = ['server', 'agent', 'cli'] as const;
  await Promise.all(
    programs.map(async (program) => {
      const ends = ['--no-such-flag', '--help', '--version'].map((flag) => run(t, program, [flag]));
      const [usage, help, version] = await Promise.all(ends);
      assert.deepEqual([usage?.exit.code, help?.exit.code, version?.exit.code], [2, 0, 0], program);
      assert.match(version?.stdout ?? '', /^\d+\.\d+\.\d+/);
    }),
  );
});

test('the API asks for a token everywhere but where it must not', async (t) => {
  const server = await startServer(t);
  const nobody = new Api({ url: server.runtime.apiUrl, ca: server.caPem });
  for (const path of ['/healthz', '/readyz', '/ca.pem']) assert.equal((await nobody.get(path)).status, 200, path);
  for (const path of ['/api/v1/hosts', '/api/v1/audit', '/api/v1/enrollment-tokens', '/api/v1/certificates']) {
    const answer = await nobody.get(path);
    assert.equal(answer.status, 401, path);
    assert.equal(answer.body.code, 'UNAUTHORIZED');
    assert.match(String(answer.headers['content-type']), /^application\/problem\+json/);
  }
  assert.equal((await nobody.get('/api/v1/hosts', { token: `${server.adminToken.slice(0, -4)}AAAA` })).status, 401);
});
