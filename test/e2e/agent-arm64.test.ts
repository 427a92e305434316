/** The executable for linux arm64, on a processor of that kind that QEMU plays. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { buildExecutables } from '../../install/build/executable.ts';
import { VERSION } from '../../shared/version.ts';
import { requireDocker } from '../support/docker.ts';
import { launchCommand } from '../support/launcher.ts';
import { newToken, startServer, waitForState } from '../support/mesh.ts';
import { tempDir } from '../support/tmp.ts';
import { PATIENT_MS } from '../support/wait.ts';

/** Debian's `qemu-user-static`, and where its `*-arm64-cross` packages have the libraries that Node needs. */
const [EMULATOR, LIBRARIES] = ['qemu-aarch64-static', '/usr/aarch64-linux-gnu'];

test('says what it is, enrolls, and serves its Docker', { timeout: 4 * PATIENT_MS }, async (t) => {
  await requireDocker();
  const dir = await tempDir(t, 'arm64');
  const [server] = await Promise.all([startServer(t), buildExecutables(['linux-arm64'], dir, { gzipLevel: 1 })]);
  const command = ['-L', LIBRARIES, join(dir, 'linux/arm64/fairlead-agent')];
  const said = async (...args: string[]) => (await promisify(execFile)(EMULATOR, [...command, ...args])).stdout;
  assert.ok((await said('--version')).startsWith(VERSION));

  const { token } = await newToken(server, { name: 'armed' });
  const stateDir = join(dir, 'state');
  const enroll = ['enroll', '--server', server.runtime.apiUrl, '--token', token, '--name', 'armed'];
  assert.match(await said(...enroll, '--state-dir', stateDir), /^enrolled as armed /);
  const agent = launchCommand(t, EMULATOR, [...command, 'run', '--state-dir', stateDir]);
  const host = await waitForState(server, 'armed', 'online');
  assert.deepEqual([host['os'], host['arch'], host['agentVersion']], ['linux', 'arm64', VERSION]);
  const { body } = await server.api.get('/api/v1/hosts/armed/containers?all=1');
  assert.ok(Array.isArray(body.items), JSON.stringify(body));
  assert.deepEqual(await agent.stop(), { code: 0, signal: null });
});
