/** The agent as one file, as it is built for hosts without Node. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { buildExecutables, type Made } from '../../install/build/executable.ts';
import { VERSION } from '../../shared/version.ts';
import { requireDocker } from '../support/docker.ts';
import { launchCommand } from '../support/launcher.ts';
import { enroll, type Server, startServer, waitForState } from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';

const run = promisify(execFile);
/** Beside it the pages of the file are resident that have been used: they are shared, and the kernel takes them when it needs them. */
const MAX_OWN_KIB = 40 * 1024;

const shared = fileCleanup();
let filesDir: string;
let made: Made;
let server: Server;

before(async () => {
  await requireDocker();
  filesDir = await tempDir(shared, 'agent-files');
  const [[first], started] = await Promise.all([buildExecutables(['linux-x64'], filesDir), startServer(shared)]);
  assert.ok(first);
  made = first;
  server = started;
});

test('says what it is, and loads nothing from folders around it', async () => {
  const dir = dirname(made.file);
  for (const name of ['bufferutil', 'utf-8-validate', 'pino-pretty', 'supports-color', 'ssh2']) {
    const module = join(dir, 'node_modules', name);
    await mkdir(module, { recursive: true });
    await writeFile(join(module, 'index.js'), "process.stdout.write('loaded from a folder\\n');");
  }
  const options = { cwd: dir, env: { NODE_OPTIONS: '--require=bufferutil' } };
  const { stdout: version, stderr } = await run(made.file, ['--version'], options);
  assert.match(version, new RegExp(`^${VERSION.replaceAll('.', '\\.')}( \\([0-9a-f]{40}(-changed)?\\))?\\n$`));
  assert.equal(stderr, '');
  const { stdout: help } = await run(made.file, ['run', '--help'], options);
  assert.match(help, /^Usage: fairlead-agent run /);
});

test('is the same each time, and what is beside it is it', async (t) => {
  const executable = await readFile(made.file);
  const sha256 = createHash('sha256').update(executable).digest('hex');
  assert.equal(sha256, made.sha256);
  assert.equal(await readFile(`${made.file}.sha256`, 'utf8'), `${sha256}  fairlead-agent\n`);
  assert.ok(gunzipSync(await readFile(`${made.file}.gz`)).equals(executable));
  const [again] = await buildExecutables(['linux-x64'], await tempDir(t, 'again'));
  assert.equal(again?.sha256, made.sha256);
});

test('holds a session with little memory of its own', async (t) => {
  const { stateDir } = await enroll(t, server, 'one-file');
  const agent = launchCommand(t, made.file, ['run', '--state-dir', stateDir]);
  await waitForState(server, 'one-file', 'online');
  const { body } = await server.api.get('/api/v1/hosts/one-file/containers?all=1');
  assert.ok(Array.isArray(body.items), JSON.stringify(body));
  const status = await readFile(`/proc/${agent.pid}/status`, 'utf8');
  const kibOf = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  const ownKib = kibOf('RssAnon');
  t.diagnostic(`${ownKib} KiB of its own, ${kibOf('RssFile')} KiB of files`);
  assert.ok(ownKib <= MAX_OWN_KIB, `${ownKib} KiB are the agent's own: ${status}`);
  assert.deepEqual(await agent.stop(), { code: 0, signal: null });
});
