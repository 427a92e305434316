/**
 * What is made of the archive of a site. A whole site with no network but its own: machines without anything on them, the
 * server's and two hosts', each host with one pair of interfaces that leads to the server; there are addresses only, and no
 * DNS. And images of server and agent.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { buildBundles } from '../../install/build/bundles.ts';
import { makeSite } from '../../install/build/site-archive.ts';
import { signRelease } from '../../shared/releases/signature.ts';
import { VERSION } from '../../shared/version.ts';
import { type AgentBuild, copyBuild, keyedBuild, nextBuild, releaseKeyFile } from '../support/agent-builds.ts';
import { DOCKER_SOCKET, dockerApi, testContainer } from '../support/docker.ts';
import { type Machine, startMachine } from '../support/machines.ts';
import { HUB_ADDRESS, wire } from '../support/private-network.ts';
import { DEBIAN_IMAGE, requireRoots } from '../support/roots.ts';
import { type Cleanup, defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const TARGET = `linux-${process.arch}` as 'linux-x64';
const API = `https://${HUB_ADDRESS}:8440`;

const shared = fileCleanup();
/** What is carried to the site: a folder with the archive, and with a newer release of the agent in `next`. */
let medium: string;
let archive: string;
/** Of that release. */
let nextVersion: string;

before(async () => {
  medium = await tempDir(shared, 'medium');
  const privateKey = createPrivateKey(await readFile(await releaseKeyFile(), 'utf8'));
  const signed = async (build: AgentBuild, sequence: number, to: string) => {
    const { version, os, arch, bytes, sha256 } = build.facts;
    const release = signRelease({ version, sequence, os, arch, bytes, sha256 }, privateKey);
    await writeFile(`${await copyBuild(build, to)}.sig`, JSON.stringify(release));
    return to;
  };
  const build = async () => {
    if (!process.env['FAIRLEAD_TEST_BUNDLES']) await buildBundles();
    const agentFiles = await signed(await keyedBuild(), 1, await tempDir(shared, 'agents'));
    archive = await makeSite(TARGET, { agentFiles, outDir: medium, gzipLevel: 0, privateKey });
    const next = await nextBuild();
    nextVersion = next.facts.version;
    await signed(next, 2, join(medium, 'next'));
  };
  await Promise.all([build(), requireRoots()]);
});

/** What a command says; it must not fail. */
async function said(machine: Machine, script: string): Promise<string> {
  const { code, out } = await machine.sh(script);
  assert.equal(code, 0, out);
  return out;
}

async function requireNoWayOut(machine: Machine): Promise<void> {
  const { code, out } = await machine.sh(
    'getent hosts fairlead.example; curl -sS --max-time 5 https://192.0.2.1/ 2>&1',
  );
  assert.equal(code, 7, out);
  assert.doesNotMatch(out, /fairlead\.example/);
  assert.equal(await said(machine, 'awk \'$2 == "00000000"\' /proc/net/route'), '');
}

test('an archive installs and runs a site that has nothing but itself', { timeout: 300_000 }, async (t) => {
  const network = 'none';
  const [server, ...hosts] = await Promise.all([
    startMachine(t, 'none', { network, binds: [`${medium}:/media:ro`] }),
    startMachine(t, 'none', { network }),
    startMachine(t, 'none', { network }),
  ]);
  await wire(server, hosts);
  for (const machine of [server, ...hosts]) await requireNoWayOut(machine);

  await said(server, 'cd /root && busybox tar -xzf /media/fairlead-site-*.tar.gz && mv fairlead-site-* site');
  const installed = await said(server, `sh /root/site/install.sh server --public-host ${HUB_ADDRESS}`);
  assert.match(installed, new RegExp(API));
  const access = `--server ${API} --api-token-file /var/lib/fairlead-server/admin-token`;
  const cli = (args: string) => said(server, `fairlead ${access} ${args}`);

  const bothRun = async (version: string) => {
    const online = new RegExp(`^host-[01] +online .* ${version.replaceAll('.', '[.]')} `, 'gm');
    const both = async () => (await cli('host ls')).match(online)?.length === 2;
    await waitFor(`both hosts with ${version}`, both, { everyMs: 500 });
  };
  const install = async (host: Machine, index: number) => {
    const { installCommand = '' } = JSON.parse(await cli(`--json token create --host-name host-${index}`)) as Record<
      string,
      string
    >;
    assert.ok(installCommand.includes(`${API}/install.sh`), installCommand);
    await said(host, installCommand);
  };
  await Promise.all(hosts.map(install));
  await bothRun(VERSION);
  const { name } = await testContainer(t, { cmd: ['echo', 'from the container'] });
  assert.match(await cli('ps host-1 --all'), new RegExp(`^\\S+ .*${name}`, 'm'));
  assert.match(await cli(`logs host-0 ${name}`), /from the container/);

  await said(server, 'mkdir /root/paper && cd /root/paper && (umask 077 && echo only on paper >secret)');
  const offline = '--passphrase-file secret';
  await said(server, `cd /root/paper && fairlead ca init --offline --out root ${offline}`);
  await said(server, `cd /root/paper && fairlead ${access} ca request --out request.pem`);
  await said(server, `cd /root/paper && fairlead ca sign --root root ${offline} request.pem --out signed.pem`);
  await cli('ca import /root/paper/signed.pem');
  const activate = async () => (await server.sh(`fairlead ${access} ca rotate --activate`)).code === 0;
  await waitFor('the hosts to trust the offline root', activate, { everyMs: 500 });
  await bothRun(VERSION);

  await cli('agent release add /media/next');
  await cli('agent upgrade host-0 host-1 --wait --timeout 2m');
  await bothRun(nextVersion);
  assert.match(await cli('audit --verify'), /The audit log is whole/);
});

async function docker(...args: string[]): Promise<string> {
  const env = { ...process.env, DOCKER_BUILDKIT: '0' };
  return (await promisify(execFile)('docker', ['-H', `unix://${DOCKER_SOCKET}`, ...args], { env })).stdout;
}

/** A name of its own for what docker makes; that is gone after the test. */
function named(t: Cleanup, removeBy: (name: string) => string): string {
  const name = `fl-test-${randomBytes(6).toString('hex')}`;
  defer(t, () => dockerApi('DELETE', removeBy(name)));
  return name;
}

const imageOf = (t: Cleanup) => named(t, (name) => `/images/${name}?force=1`);
const volumeOf = (t: Cleanup) => named(t, (name) => `/volumes/${name}?force=1`);

test('images of server and agent are made of it, and keep all in their volumes', { timeout: 300_000 }, async (t) => {
  const dir = await tempDir(t, 'unpacked');
  await promisify(execFile)('tar', ['-xzf', archive, '-C', dir, '--strip-components=1']);
  const [serverImage, agentImage, data, identity] = [imageOf(t), imageOf(t), volumeOf(t), volumeOf(t)];
  const build = (image: string, file: string, context: string) =>
    docker(
      ...['build', '-q', '--network', 'none', '--build-arg', `BASE=${DEBIAN_IMAGE}`, '-t', image],
      ...['-f', join(dir, 'server/lib/install/container', file), join(dir, context)],
    );
  await build(serverImage, 'Dockerfile', '.');
  await build(agentImage, 'agent.Dockerfile', `agent-files/linux/${process.arch}`);

  const confined = ['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges', '--read-only'];
  const start = async (image: string, ...options: string[]) => {
    const name = named(t, (container) => `/containers/${container}?force=1&v=1`);
    await docker('run', '-d', '--name', name, ...confined, ...options, image);
    return name;
  };
  const startServer = async () => {
    const settings = ['-e', 'FAIRLEAD_PUBLIC_HOST=127.0.0.1', '-v', `${data}:/data`, '--tmpfs', '/tmp'];
    const name = await start(serverImage, '--network', 'none', ...settings);
    // As Docker runs it every half minute.
    const [, ...probe] = (await dockerApi('GET', `/containers/${name}/json`)).body.Config.Healthcheck.Test;
    const isHealthy = async () => (await docker('exec', name, ...probe).catch(() => undefined)) !== undefined;
    await waitFor('a healthy server', isHealthy, { everyMs: 300 });
    return name;
  };
  const { gid } = await stat(DOCKER_SOCKET);
  const besides = (server: string) => ['--network', `container:${server}`, '-v', `${identity}:/etc/fairlead-agent`];
  const socket = ['-v', `${DOCKER_SOCKET}:/var/run/docker.sock`, '--group-add', String(gid)];
  const access = ['--server', 'https://127.0.0.1:8440', '--api-token-file', '/data/admin-token'];
  const cliOf =
    (server: string) =>
    (...args: string[]) =>
      docker('exec', server, 'fairlead', ...access, ...args);
  const startAgent = async (server: string) => {
    const name = await start(agentImage, ...besides(server), ...socket);
    const online = async () => /^boxed +online +\d/m.test(await cliOf(server)('host', 'ls'));
    await waitFor('the host', online, { everyMs: 300 });
    return name;
  };

  const server = await startServer();
  const { token } = JSON.parse(await cliOf(server)('--json', 'token', 'create', '--host-name', 'boxed'));
  const enroll = ['enroll', '--server', 'https://127.0.0.1:8440', '--token', token];
  await docker('run', '--rm', ...confined, ...besides(server), agentImage, ...enroll);
  const agent = await startAgent(server);
  assert.match(await cliOf(server)('ps', 'boxed'), new RegExp(` ${agent} .*running`));
  for (const name of [server, agent]) assert.match(await docker('exec', name, 'id', '-u'), /^104\d\d$/m);

  await docker('stop', '-t', '10', agent, server);
  assert.equal((await dockerApi('GET', `/containers/${server}/json`)).body.State.ExitCode, 0);
  await docker('rm', agent, server);
  await startAgent(await startServer());
});
