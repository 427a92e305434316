/** The whole server: makes its parts, which last as long as it does, joins them and takes them down again. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../shared/atomic-file.ts';
import { VERSION } from '../shared/version.ts';
import type { Authority } from './authority/authority.ts';
import { followPin } from './ca.ts';
import { Drain } from './drain.ts';
import { openFleet } from './fleet.ts';
import { type AppUrls, openFront } from './front.ts';
import { listen, listenApi, requireFree } from './listen.ts';
import { type Closers, type PartOptions, RUNTIME_FILE } from './parts.ts';
import { publicHosts, url } from './public-hosts.ts';
import { openRecords } from './records.ts';

/** How long requests in progress may go on once the server stops, in ms. */
const DRAIN_MS = 5_000;
/** How long the streams of hosts may go on after that, in ms. */
const FAREWELL_MS = 1_000;

export interface AppOptions extends Omit<PartOptions, 'closers'> {
  readonly pid: number;
}

/** A server that listens. */
export interface App {
  /** Where it listens, by the name that it hands out. */
  readonly urls: AppUrls;
  readonly caFingerprint: string;
  readonly adminTokenFile: string;
  /** Looks now whether the files of `--api-tls files` have changed. Never rejects. */
  reload(): Promise<void>;
  /** Drains and stops. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts the server.
 * @throws FairleadError with one clear sentence; nothing listens and nothing is held then
 */
export async function startApp(options: AppOptions): Promise<App> {
  const closers: Closers = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  try {
    const app = await start({ ...options, closers });
    let closing: Promise<void> | undefined;
    return {
      ...app,
      close: () => {
        closing ??= closeAll();
        return closing;
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function start(options: AppOptions & PartOptions): Promise<Omit<App, 'close'>> {
  const { config, clock, log, closers } = options;
  // A first start that cannot listen leaves nothing behind; later on, whose data it is comes first.
  if (!existsSync(config.dataDir)) {
    await requireFree('--api-listen', config.apiListen);
    await requireFree('--agent-listen', config.agentListen);
  }
  const names = await publicHosts(config.publicHosts, [config.apiListen, config.agentListen]);
  const records = await openRecords(options, names);
  const { authority } = records;
  const fleet = await openFleet(options, records);
  const drain = new Drain(clock);
  let urls: AppUrls = { apiUrl: '', agentUrl: '' };
  const { api, apiTokens, tls } = await openFront({ ...options, names, urls: () => urls, drain }, records, fleet);

  const { agents, events, hostMetrics } = fleet;
  const agentPort = await listen('--agent-listen', config.agentListen, (at) => agents.listen(at.host, at.port));
  closers.push(() => agents.close(FAREWELL_MS));
  const apiPort = await listen('--api-listen', config.apiListen, (at) => listenApi(api, at));
  const closeAgents = closers.pop();
  closers.push(async () => {
    events.stopAsking();
    hostMetrics.stopAsking();
    drain.begin();
    const isIdle = await drain.idle(DRAIN_MS);
    if (!isIdle) log.warn({ requests: drain.inProgress }, 'these requests took too long, and are ended');
    // Both at once: requests that are left end with their hosts' streams.
    await Promise.all([closeAgents?.(), api.close()]);
  });

  const host = names[0] ?? 'localhost';
  const own = urlsOf(tls.options === undefined ? 'http' : 'https', host, apiPort, agentPort);
  // What is handed out: where the API has no TLS the proxy in front of it has, and it may have other ports.
  urls = urlsOf('https', host, config.publicApiPort ?? apiPort, config.publicAgentPort ?? agentPort);
  const runtimeFile = join(config.dataDir, RUNTIME_FILE);
  closers.push(() => rm(runtimeFile, { force: true }));
  const keepRuntime = () => writeRuntime(runtimeFile, { pid: options.pid, ...own }, authority);
  await keepRuntime();
  closers.push(followPin(authority, log, [keepRuntime, () => apiTokens.repinAdminToken()]));
  const { caFingerprint } = authority;
  log.info({ ...own, caFingerprint, version: VERSION }, 'the server is ready');
  return { urls: own, caFingerprint, adminTokenFile: apiTokens.adminTokenFile, reload: () => tls.reload() };
}

function urlsOf(scheme: string, host: string, apiPort: number, agentPort: number): AppUrls {
  return { apiUrl: url(scheme, host, apiPort), agentUrl: `${url('wss', host, agentPort)}/agent` };
}

/** Whoever waits for the file reads the whole of it or none. */
async function writeRuntime(file: string, runtime: object, { caFingerprint }: Authority): Promise<void> {
  const text = JSON.stringify({ ...runtime, caFingerprint, version: VERSION }, undefined, 2);
  await writeFileAtomic(file, `${text}\n`, 0o644);
}
