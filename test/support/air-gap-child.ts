/** What a site without a network does in a namespace of its own; run by the test of that. */
import assert from 'node:assert/strict';
import { lookup } from 'node:dns/promises';
import { writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { runCliHere } from './cli.ts';
import { testContainer } from './docker.ts';
import { addHost, startServer } from './mesh.ts';
import { type Cleanup, tempDir } from './tmp.ts';
import { waitFor } from './wait.ts';

const undo: (() => unknown)[] = [];
const cleanup: Cleanup = { after: (fn) => void undo.unshift(fn) };

async function noNetwork(): Promise<void> {
  const others = Object.keys(networkInterfaces()).filter((name) => name !== 'lo');
  assert.deepEqual(others, []);
  await assert.rejects(lookup('fairlead.example'));
  console.log('no network, no DNS');
}

async function useTheMesh(): Promise<void> {
  const server = await startServer(cleanup);
  const host = await addHost(cleanup, server, 'shed');
  const { id } = await testContainer(cleanup, { cmd: ['echo', 'from the container'] });
  const logs = await server.api.get(`/api/v1/hosts/shed/containers/${id}/logs?follow=1`);
  assert.match(logs.text, /from the container/);

  const dir = await tempDir(cleanup, 'offline');
  const [root, secret, request, signed] = ['root', 'secret', 'request.pem', 'signed.pem'].map((name) =>
    join(dir, name),
  );
  assert.ok(root !== undefined && secret !== undefined && request !== undefined && signed !== undefined);
  await writeFile(secret, 'only on paper\n', { mode: 0o600 });
  const cli = async (...args: string[]) => {
    const done = await runCliHere(args);
    assert.equal(done.exit.code, 0, done.transcript());
    return done.stdout;
  };
  const access = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  await cli('ca', 'init', '--offline', '--out', root, '--passphrase-file', secret);
  await cli(...access, 'ca', 'request', '--out', request);
  await cli('ca', 'sign', '--root', root, '--passphrase-file', secret, request, '--out', signed);
  await cli(...access, 'ca', 'import', signed);
  const activated = async () => (await runCliHere([...access, 'ca', 'rotate', '--activate'])).exit.code === 0;
  await waitFor('the host to trust the offline root', activated, { everyMs: 500 });
  assert.match(await cli(...access, 'host', 'ls'), /shed .*online/);
  assert.equal(host.process.exit, undefined, host.process.transcript());
  assert.match(await cli(...access, 'audit', '--verify'), /The audit log is whole/);
  console.log('enrolled, online, followed, an offline root above, verified');
}

try {
  await noNetwork();
  await useTheMesh();
} finally {
  for (const fn of undo) await fn();
}
