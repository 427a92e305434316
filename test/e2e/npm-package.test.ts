/** The npm package: what `npm run pack` makes of a checkout runs where npm installs it, without sources and what builds them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { VERSION } from '../../shared/version.ts';
import { launchCommand, ROOT } from '../support/launcher.ts';
import { enroll, readyServer, serverArgs, waitForState } from '../support/mesh.ts';
import { tempDir } from '../support/tmp.ts';

/** The programs begin with this Node, whatever else is there. */
const ENV = { ...process.env, PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter) };
const NPM_MS = 120_000;

const run = async (command: string, args: readonly string[], cwd: string) =>
  await promisify(execFile)(command, args, { cwd, env: ENV, timeout: NPM_MS });

test('a packed checkout is installed by npm: server, agent and CLI run from it, and make an archive of it', {
  timeout: 240_000,
}, async (t) => {
  const dir = await tempDir(t, 'npm');
  const { stdout } = await run('npm', ['run', '--silent', 'pack', '--', '--silent', '--pack-destination', dir], ROOT);
  const archive = join(dir, stdout.trim());
  assert.equal(archive, join(dir, `fairlead-${VERSION}.tgz`));
  const { stdout: list } = await run('tar', ['-tzf', archive], dir);
  assert.doesNotMatch(list, /\.ts$|\.test\.|agent-files|node_modules/m);

  await writeFile(join(dir, 'package.json'), '{}');
  await run('npm', ['install', archive, '--prefer-offline', '--no-audit', '--no-fund', '--omit=dev'], dir);
  // In the bundles: they would be there twice.
  const packages = await readdir(join(dir, 'node_modules'));
  for (const name of ['fastify', 'dockerode', 'typescript']) assert.ok(!packages.includes(name), name);

  const programs = join(dir, 'node_modules/.bin');
  const dataDir = join(dir, 'data');
  const started = launchCommand(t, join(programs, 'fairlead-server'), serverArgs(dataDir), { cwd: dir, env: ENV });
  const server = await readyServer(started, dataDir);
  assert.equal(server.runtime.version, VERSION);
  assert.equal((await server.api.get('/healthz')).status, 200);
  assert.match((await server.api.get('/install.sh')).text, new RegExp(`^SERVER='${server.runtime.apiUrl}'$`, 'm'));

  const { stateDir } = await enroll(t, server, 'packed');
  const agent = launchCommand(t, join(programs, 'fairlead-agent'), ['run', '--state-dir', stateDir], {
    cwd: dir,
    env: ENV,
  });
  await waitForState(server, 'packed', 'online');
  const cli = async (...args: string[]) => (await run(join(programs, 'fairlead'), args, dir)).stdout;
  assert.equal(await cli('--version'), `${VERSION}\n`);
  const access = ['--server', server.runtime.apiUrl, '--api-token-file', join(dataDir, 'admin-token')];
  assert.match(await cli(...access, 'host', 'ls'), /^packed +.*online/m);
  // The worker that copies the store has a file of its own.
  const secret = join(dir, 'secret');
  await writeFile(secret, 'of the backup only\n', { mode: 0o600 });
  await cli(...access, 'backup', '--out', join(dir, 'backup'), '--passphrase-file', secret);
  const { stdout: licenses } = await run(join(programs, 'fairlead-agent'), ['licenses'], dir);
  assert.match(licenses, /^better-sqlite3 13\.[\s\S]*^fastify 5\./m);

  // An executable is any file here: the archive is made of what npm has installed.
  const agents = join(dir, 'agent-files', process.platform, process.arch);
  await mkdir(agents, { recursive: true });
  const executable = Buffer.from('an executable of the agent');
  const sha256 = createHash('sha256').update(executable).digest('hex');
  const built = { version: VERSION, os: process.platform, arch: process.arch, bytes: executable.byteLength, sha256 };
  await writeFile(join(agents, 'fairlead-agent'), executable);
  await writeFile(join(agents, 'fairlead-agent.json'), JSON.stringify(built));
  const site = join(dir, 'site.tar.gz');
  await cli('bundle', '--out', site, '--agent-files', join(dir, 'agent-files'));
  await assert.rejects(cli('bundle', '--out', site), /site\.tar\.gz is there already: --force overwrites it/);
  assert.match(await cli('bundle', 'verify', site), new RegExp(`^Agent \\S+: +${VERSION}, not signed$`, 'm'));
  await run('tar', ['-xzf', site], dir);
  const unpacked = join(dir, `fairlead-site-${VERSION}-${process.platform}-${process.arch}`);
  await run('sha256sum', ['-c', '--quiet', 'SHA256SUMS'], unpacked);
  const { stdout: version } = await run(join(unpacked, 'server/bin/fairlead-server'), ['--version'], '/');
  assert.equal(version, `${VERSION}\n`);
  for (const program of [agent, started]) assert.deepEqual(await program.stop(), { code: 0, signal: null });
});
