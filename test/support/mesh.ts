/** A whole mesh of real processes for tests: one server, agents enrolled by token, a client of the API. */
import { readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { enroll as enrollHere } from '../../agent/identity/enroll.ts';
import { firstCertificate } from '../../certs/pem.ts';
import { spkiPin } from '../../certs/pin.ts';
import { systemClock } from '../../shared/clock.ts';
import { VERSION } from '../../shared/version.ts';
import { Api, fetchBlindly } from './http.ts';
import { type Launched, type LaunchOptions, launch } from './launcher.ts';
import { type Cleanup, tempDir } from './tmp.ts';
import { PATIENT_MS, waitFor } from './wait.ts';

/** What a server writes to `<data-dir>/runtime.json` once it is ready. */
export interface Runtime {
  pid: number;
  apiUrl: string;
  agentUrl: string;
  caFingerprint: string;
  version: string;
}

export interface Server {
  process: Launched;
  dataDir: string;
  runtime: Runtime;
  caPem: string;
  adminToken: string;
  /** As admin. */
  api: Api;
}

export interface ServerOptions extends LaunchOptions {
  dataDir?: string;
  apiPort?: number;
  agentPort?: number;
  args?: readonly string[];
}

/** Starts a server and waits until it is ready. Another port than 0 is for a server that comes back. */
export async function startServer(cleanup: Cleanup, options: ServerOptions = {}): Promise<Server> {
  const dataDir = options.dataDir ?? join(await tempDir(cleanup, 'data'), 'data');
  const started = launch(cleanup, 'server', serverArgs(dataDir, options), options);
  return await readyServer(started, dataDir);
}

/** The arguments of a server that listens on this machine only. */
export function serverArgs(dataDir: string, options: ServerOptions = {}): string[] {
  return [
    ...['--data-dir', dataDir, '--public-host', 'localhost,127.0.0.1'],
    ...['--api-listen', `127.0.0.1:${options.apiPort ?? 0}`],
    ...['--agent-listen', `127.0.0.1:${options.agentPort ?? 0}`],
    ...(options.args ?? []),
  ];
}

/** Waits until a server that was started on `dataDir` is ready. */
export async function readyServer(started: Launched, dataDir: string): Promise<Server> {
  const runtime = await waitFor('a ready server', () => readRuntime(started, dataDir), {
    context: () => started.transcript(),
    failed: () => (started.exit === undefined ? undefined : 'it ended'),
  });
  const { text: caPem } = await fetchBlindly(new URL('/ca.pem', runtime.apiUrl).href);
  if (spkiPin(firstCertificate(caPem)) !== runtime.caFingerprint)
    throw new Error('/ca.pem is not the CA that runtime.json names');
  const adminToken = (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim();
  const api = new Api({ url: runtime.apiUrl, ca: caPem, token: adminToken });
  return { process: started, dataDir, runtime, caPem, adminToken, api };
}

async function readRuntime(started: Launched, dataDir: string): Promise<Runtime | undefined> {
  const runtime = JSON.parse(await readFile(join(dataDir, 'runtime.json'), 'utf8')) as Runtime;
  return runtime.pid === started.pid ? runtime : undefined;
}

/** Kills or stops a server and starts it again on the same data directory and ports. */
export async function restartServer(
  cleanup: Cleanup,
  server: Server,
  how: 'stop' | 'kill',
  args: readonly string[] = [],
): Promise<Server> {
  await server.process[how]();
  return await startServer(cleanup, {
    dataDir: server.dataDir,
    apiPort: Number(new URL(server.runtime.apiUrl).port),
    agentPort: Number(new URL(server.runtime.agentUrl).port),
    args,
  });
}

export interface Enrolled {
  stateDir: string;
  hostId: string;
  name: string;
}

/** A new enrollment token. */
export async function newToken(
  server: Server,
  body: Record<string, unknown> = {},
): Promise<{ id: string; token: string }> {
  const answer = await server.api.post('/api/v1/enrollment-tokens', body);
  if (answer.status !== 201) throw new Error(`no token: ${answer.status} ${answer.text}`);
  return answer.body;
}

const FACTS = { hostname: hostname(), os: process.platform, arch: process.arch, agentVersion: VERSION };

/** Enrolls an agent by a fresh token, as `fairlead-agent enroll` does but for its lock, in this process. */
export async function enroll(cleanup: Cleanup, server: Server, name: string): Promise<Enrolled> {
  const { token } = await newToken(server);
  return await enrollBy(cleanup, server, name, token);
}

/** The same by a token that there is. */
export async function enrollBy(cleanup: Cleanup, server: Server, name: string, token: string): Promise<Enrolled> {
  const stateDir = join(await tempDir(cleanup, 'agent'), 'state');
  const { hostId } = await enrollHere(
    { server: server.runtime.apiUrl, token, stateDir, name, tags: [] },
    { clock: systemClock, facts: FACTS, claim: () => () => undefined },
  );
  return { stateDir, hostId, name };
}

/** Starts an enrolled agent; does not wait until it is online. */
export function startAgent(cleanup: Cleanup, agent: Enrolled, args: readonly string[] = []): Launched {
  return launch(cleanup, 'agent', ['run', '--state-dir', agent.stateDir, ...args]);
}

/** Waits until the API says that the host is in `state`, and returns the host. */
export async function waitForState(
  server: Server,
  host: string,
  state: 'online' | 'offline' | 'revoked',
  timeoutMs = PATIENT_MS,
): Promise<Record<string, unknown>> {
  return await waitFor(
    `${host} to be ${state}`,
    async () => {
      const { body } = await server.api.get(`/api/v1/hosts/${host}`);
      return body?.state === state ? body : undefined;
    },
    { timeoutMs, context: () => server.process.transcript() },
  );
}

/** Enrolls an agent, starts it and waits until its host is online. */
export async function addHost(
  cleanup: Cleanup,
  server: Server,
  name: string,
  args: readonly string[] = [],
): Promise<Enrolled & { process: Launched }> {
  const agent = await enroll(cleanup, server, name);
  const started = startAgent(cleanup, agent, args);
  await waitForState(server, name, 'online');
  return { ...agent, process: started };
}

/** The permission bits of a file. */
export async function modeOf(path: string): Promise<number> {
  return (await stat(path)).mode & 0o777;
}
