/** Releases of the agent as an administrator publishes them by the CLI, and upgrades of hosts that are waited for. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type AgentBuild, copyBuild, releaseKeyFile } from './agent-builds.ts';
import { runCliHere } from './cli.ts';
import type { Server } from './mesh.ts';
import { type Cleanup, tempDir } from './tmp.ts';
import { waitFor } from './wait.ts';

/** Runs the CLI against `server`, which must succeed. @returns what it prints */
export async function cliOf(server: Server, ...args: string[]): Promise<string> {
  const env = { FAIRLEAD_SERVER: server.runtime.apiUrl, FAIRLEAD_API_TOKEN: server.adminToken, HOME: server.dataDir };
  const ended = await runCliHere(args, { env });
  assert.equal(ended.exit.code, 0, ended.transcript());
  return ended.stdout;
}

/** Signs what is in a folder of builds, and adds it to the server. */
export async function publish(server: Server, root: string, sequence: number, ...more: string[]): Promise<void> {
  const key = await releaseKeyFile();
  await cliOf(server, 'release', 'sign', root, '--key', key, '--sequence', String(sequence), ...more);
  await cliOf(server, 'agent', 'release', 'add', root, '--release-key', `${key}.pub`);
}

/** A folder with a copy of a build, to be signed. */
export async function copied(cleanup: Cleanup, build: AgentBuild): Promise<string> {
  const root = join(await tempDir(cleanup, 'release'), 'files');
  await copyBuild(build, root);
  return root;
}

/** Publishes a release whose executable is a script. */
export async function publishScript(
  cleanup: Cleanup,
  server: Server,
  { version, sequence, script }: { version: string; sequence: number; script: string },
): Promise<void> {
  const root = await tempDir(cleanup, 'release');
  const dir = join(root, process.platform, process.arch);
  await mkdir(dir, { recursive: true });
  const executable = Buffer.from(script);
  const sha256 = createHash('sha256').update(executable).digest('hex');
  const facts = { version, os: process.platform, arch: process.arch, bytes: executable.length, sha256 };
  await writeFile(join(dir, 'fairlead-agent'), executable, { mode: 0o755 });
  await writeFile(join(dir, 'fairlead-agent.gz'), gzipSync(executable));
  await writeFile(join(dir, 'fairlead-agent.sha256'), `${sha256}  fairlead-agent\n`);
  await writeFile(join(dir, 'fairlead-agent.json'), JSON.stringify(facts));
  await publish(server, root, sequence);
}

/** A script that answers a trial as `version` by the agent that it is to replace, and ends at once when it is run. */
export function crashingScript(real: string, realVersion: string, version: string): string {
  return `#!/bin/sh\n[ "$1" = try ] || exit 1\n${real} "$@" | sed s/${realVersion}/${version}/\n`;
}

/** How an upgrade of a host has ended, once it has. */
export async function upgradeEnded(server: Server, host: string, context: () => string = () => '') {
  return await waitFor(
    `the end of the upgrade of ${host}`,
    async () => {
      const { body } = await server.api.get(`/api/v1/hosts/${host}/upgrade`);
      return ['done', 'failed', 'refused'].includes(body.state) ? body : undefined;
    },
    { everyMs: 100, context: () => `${context()}\n${server.process.transcript()}` },
  );
}

/** Wishes a release at a host. */
export async function wish(server: Server, host: string, sequence: number): Promise<void> {
  const { status, text } = await server.api.post(`/api/v1/hosts/${host}/upgrade`, { sequence });
  assert.equal(status, 202, text);
}
