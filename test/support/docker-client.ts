/** Unmodified Docker clients, run against the mesh and against the Engine's socket itself. */
import { access, constants, realpath, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { DOCKER_SOCKET } from './docker.ts';
import { launchCommand } from './launcher.ts';
import type { Server } from './mesh.ts';
import { type Cleanup, tempDir } from './tmp.ts';
import { PATIENT_MS, within } from './wait.ts';

/** What a client printed and how it ended. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a client finds its Engine: its environment. */
export type Target = Record<string, string>;

/** All programs of a name that PATH has, each once. */
export async function programs(name: string): Promise<string[]> {
  const found = new Set<string>();
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(dir, name);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) found.add(await realpath(path));
  }
  return [...found];
}

/** The Engine's socket, with a configuration of its own. */
export async function directly(cleanup: Cleanup): Promise<Target> {
  const config = await tempDir(cleanup, 'docker-config');
  return { ...plain(config), DOCKER_HOST: `unix://${DOCKER_SOCKET}` };
}

/** A host of the mesh, with the admin's token in the client's configuration. */
export async function throughMesh(cleanup: Cleanup, server: Server, host: string): Promise<Target> {
  const config = await tempDir(cleanup, 'docker-config');
  const headers = { Authorization: `Bearer ${server.adminToken}`, 'X-Fairlead-Host': host };
  await writeFile(join(config, 'config.json'), JSON.stringify({ HttpHeaders: headers }), { mode: 0o600 });
  await writeFile(join(config, 'ca.pem'), server.caPem);
  return { ...plain(config), ...meshHost(server, host), DOCKER_CERT_PATH: config };
}

/** Where a client finds a host of the mesh; how it is known there is another matter. */
export function meshHost(server: Server, host: string): Target {
  const { port } = new URL(server.runtime.apiUrl);
  return { DOCKER_HOST: `tcp://localhost:${port}/api/v1/hosts/${host}/docker`, DOCKER_TLS_VERIFY: '1' };
}

/** What this machine has set for other programs must not change what a client does. */
function plain(config: string): Target {
  const none = { REQUESTS_CA_BUNDLE: '', CURL_CA_BUNDLE: '', SSL_CERT_FILE: '', SSL_CERT_DIR: '' };
  return { ...none, DOCKER_CONFIG: config, DOCKER_CONTEXT: '', COMPOSE_PROJECT_NAME: '', DOCKER_CLI_HINTS: 'false' };
}

export interface RunOptions {
  readonly input?: string;
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly timeoutMs?: number;
}

/** Runs a client to its end. */
export async function runClient(
  cleanup: Cleanup,
  target: Target,
  command: readonly string[],
  { input = '', cwd, env, timeoutMs = PATIENT_MS }: RunOptions = {},
): Promise<Outcome> {
  const [program = '', ...args] = command;
  const where = cwd === undefined ? {} : { cwd };
  const client = launchCommand(cleanup, program, args, { input, env: { ...target, ...env }, ...where });
  const { code } = await within(timeoutMs, command.join(' '), client.exited, () => client.transcript());
  return { code, stdout: client.stdout, stderr: client.stderr };
}
