/** This machine as the first host: enrolled if it is not yet, connected, and looked at through the API. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiClient, path } from '../../server/cli/api-client.ts';
import type { CaView, CreatedEnrollmentToken, HostView, Whoami } from '../../server/cli/api-types.ts';
import { listContainers } from '../../server/cli/commands/ps.ts';
import { describeError } from '../../server/cli/errors.ts';
import { learnCa, serverUrl } from '../../server/cli/trust.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { type AgentState, startAgain } from './agent-state.ts';
import { LaunchError } from './options.ts';
import type { FirstHost } from './report.ts';

const POLL_MS = 200;
/** The agent comes up in a second or two; what takes longer is told as it stands. */
const ONLINE_MS = 30_000;
/** How long an agent that has just connected may take to find its Docker. */
const DOCKER_MS = 5_000;

/** A client with the admin token; undefined if that token was taken away or revoked, which an administrator may do. */
export async function adminClient(
  apiUrl: string,
  tokenFile: string,
  signal: AbortSignal,
): Promise<ApiClient | undefined> {
  const token = await readToken(tokenFile);
  if (token === undefined) return undefined;
  const url = serverUrl(apiUrl);
  const api = new ApiClient({ url, token, trust: await learnCa(url, token, { now: Date.now(), signal }) });
  try {
    await api.get<Whoami>('/api/v1/whoami', { signal });
    return api;
  } catch (error) {
    api.close();
    if (isFairleadError(error, 'UNAUTHORIZED') || isFairleadError(error, 'TOKEN_INVALID')) return undefined;
    throw error;
  }
}

async function readToken(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new LaunchError(`cannot read the admin token: ${(error as Error).message}`, { cause: error });
  }
}

/** A token that enrolls this machine. */
export async function enrollmentToken(api: ApiClient, signal: AbortSignal): Promise<string> {
  const wish = { name: 'npm start: this machine', ttlSeconds: 600 };
  return (await api.post<CreatedEnrollmentToken>('/api/v1/enrollment-tokens', wish, { signal })).token;
}

/** Refuses an agent that this server will not let in. @throws LaunchError with what to do */
export async function checkKnown(
  api: ApiClient | undefined,
  agent: AgentState,
  server: { agentDir: string; caFingerprint: string },
): Promise<void> {
  const { agentDir, caFingerprint } = server;
  if (agent.caFingerprint !== caFingerprint && !(await isTrusted(api, agent.caFingerprint))) {
    throw new LaunchError(
      `the agent in ${agentDir} was enrolled with another server, whose CA is ${agent.caFingerprint} and not ` +
        `${caFingerprint}; ${startAgain(agentDir)}`,
    );
  }
  if (api === undefined) return;
  const host = await findHost(api, agent.hostId);
  if (host === undefined) {
    throw new LaunchError(`the server does not know the host ${agent.name} any more; ${startAgain(agentDir)}`);
  }
  if (host.state === 'revoked') throw new LaunchError(`the host ${host.name} is revoked; ${startAgain(agentDir)}`);
}

/** Whether an agent that knows the server by another root will find its way: the server's CA may be changing. */
async function isTrusted(api: ApiClient | undefined, fingerprint: string): Promise<boolean> {
  const { roots } = (await api?.get<CaView>('/api/v1/ca')) ?? { roots: [] };
  return roots.some((root) => root.fingerprint === fingerprint);
}

async function findHost(api: ApiClient, hostId: string): Promise<HostView | undefined> {
  try {
    return await api.get<HostView>(path`/api/v1/hosts/${hostId}`);
  } catch (error) {
    if (isFairleadError(error, 'HOST_NOT_FOUND')) return undefined;
    throw error;
  }
}

/** Waits until the host is online and knows about its Docker, or for as long as that should take at most. */
export async function waitForHost(api: ApiClient, hostId: string, signal: AbortSignal): Promise<HostView> {
  const start = performance.now();
  let onlineSince: number | undefined;
  for (;;) {
    const host = await api.get<HostView>(path`/api/v1/hosts/${hostId}`, { signal });
    const now = performance.now();
    if (host.state === 'online') {
      onlineSince ??= now;
      if (host.docker?.reachable || now - onlineSince > DOCKER_MS) return host;
    } else if (now - start > ONLINE_MS) return host;
    await sleep(POLL_MS, undefined, { signal });
  }
}

/** The host with its containers, stopped ones included. */
export async function lookAt(api: ApiClient, view: HostView): Promise<FirstHost> {
  if (view.state !== 'online' || !view.docker?.reachable) return { view, containers: undefined };
  try {
    return { view, containers: await listContainers(api, view.id, true) };
  } catch (error) {
    return { view, containers: undefined, problem: `Its containers cannot be listed: ${describeError(error)}` };
  }
}
