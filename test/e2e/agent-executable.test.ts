/** The agent as one file, as it is built for hosts without Node. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { buildExecutable, type Made } from '../../install/build/executable.ts';
import { BuildFacts } from '../../shared/releases/release.ts';
import { validate } from '../../shared/validate.ts';
import { VERSION } from '../../shared/version.ts';
import { copyBuild, plainBuild } from '../support/agent-builds.ts';
import { requireDocker } from '../support/docker.ts';
import { launchCommand } from '../support/launcher.ts';
import { enroll, type Server, startServer, waitForState } from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const run = promisify(execFile);
/** Beside it pages of files are resident that have been used a moment ago: each one is given back within a second. */
const MAX_OWN_KIB = 40 * 1024;
const MAX_RESIDENT_KIB = 60 * 1024;

const shared = fileCleanup();
let filesDir: string;
let made: Pick<Made, 'file' | 'sha256'>;
/** Made by itself. */
let madeAgain: Buffer;
let server: Server;

before(async () => {
  await requireDocker();
  filesDir = await tempDir(shared, 'agent-files');
  const [running, plain, again] = await Promise.all([
    startServer(shared, { args: ['--agent-files', filesDir] }),
    plainBuild(),
    buildExecutable('linux-x64'),
  ]);
  made = { file: await copyBuild(plain, filesDir), sha256: plain.facts.sha256 };
  [server, madeAgain] = [running, again];
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
  const { stdout: licenses } = await run(made.file, ['licenses'], options);
  assert.match(licenses, /^fairlead [\s\S]*^Node\.js 26\.[\s\S]*^- V8, [\s\S]*^commander 15\.[\s\S]*^ws 8\./m);
  assert.doesNotMatch(licenses, /^fastify /m);
});

test('is the same each time, and what is beside it is it', async () => {
  const executable = await readFile(made.file);
  const sha256 = createHash('sha256').update(executable).digest('hex');
  assert.equal(sha256, made.sha256);
  assert.equal(await readFile(`${made.file}.sha256`, 'utf8'), `${sha256}  fairlead-agent\n`);
  assert.ok(gunzipSync(await readFile(`${made.file}.gz`)).equals(executable));
  assert.ok(madeAgain.equals(executable));
  const { commit, ...facts } = validate(
    BuildFacts,
    JSON.parse(await readFile(`${made.file}.json`, 'utf8')),
    'the facts',
  );
  assert.deepEqual(facts, { version: VERSION, os: 'linux', arch: 'x64', bytes: executable.length, sha256 });
  const { stdout: version } = await run(made.file, ['--version']);
  assert.equal(version, `${VERSION}${commit === undefined ? '' : ` (${commit})`}\n`);
});

test('holds a session with little memory of its own', async (t) => {
  const { stateDir } = await enroll(t, server, 'one-file');
  const agent = launchCommand(t, made.file, ['run', '--state-dir', stateDir]);
  await waitForState(server, 'one-file', 'online');
  const { body } = await server.api.get('/api/v1/hosts/one-file/containers?all=1');
  assert.ok(Array.isArray(body.items), JSON.stringify(body));
  const kibOf = async (name: string) => {
    const status = await readFile(`/proc/${agent.pid}/status`, 'utf8');
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  };
  await waitFor('few pages to be resident', async () => (await kibOf('VmRSS')) <= MAX_RESIDENT_KIB);
  const ownKib = await kibOf('RssAnon');
  t.diagnostic(`${ownKib} KiB of its own, ${await kibOf('RssFile')} KiB of files`);
  assert.ok(ownKib <= MAX_OWN_KIB, `${ownKib} KiB are the agent's own`);
  assert.deepEqual(await agent.stop(), { code: 0, signal: null });
});
