/** The server of the fleet figures: the whole product in a process that can be asked for its memory, and killed. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { pino } from 'pino';
import { startApp } from '../../../server/app.ts';
import { Authority } from '../../../server/authority/authority.ts';
import { readConfig } from '../../../server/config.ts';
import { ServerFlags } from '../../../server/server-flags.ts';
import { openStore } from '../../../server/store/store.ts';
import { systemClock } from '../../../shared/clock.ts';
import { readFlags } from '../../../shared/flags.ts';
import { issue, type SeededAgent } from '../../support/fleet.ts';
import type { ApiOptions } from '../../support/http.ts';
import { type Load, loadNow } from '../load.ts';
import { serve } from '../peer.ts';

const NS_PER_MS = 1e6;
/** As what the server exports to Prometheus. */
const RESOLUTION_MS = 10;
/** Signing takes place beside the loop. */
const SEEDERS = 8;

// The server logs every host that comes and goes; what it says goes where writing costs a system call and no more.
const log = pino({ level: 'info' }, pino.destination({ dest: '/dev/null', sync: true }));
const loopDelay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

let access: ApiOptions | undefined;

const methods = {
  /** Puts so many hosts with certificates into a new store. @returns their keys and the CA's certificate */
  async seed({ dataDir, count }: { dataDir: string; count: number }): Promise<{ ca: string; agents: SeededAgent[] }> {
    const store = await openStore({ dataDir, clock: systemClock });
    const { settings, certificates } = store;
    const publicHosts = ['127.0.0.1'];
    const authority = await Authority.open({ settings, certificates, log, clock: systemClock, dataDir, publicHosts });
    const agents: SeededAgent[] = [];
    const names = Array.from({ length: count }, (_, i) => `fleet-${i}`).values();
    const worker = async () => {
      for (const name of names) agents.push(await issue(store, authority, name));
    };
    await Promise.all(Array.from({ length: SEEDERS }, worker));
    const ca = authority.caPem;
    authority.close();
    await store.close();
    return { ca, agents };
  },

  /** Starts the server. @returns where agents connect */
  async start({ dataDir, agentPort }: { dataDir: string; agentPort: number }): Promise<string> {
    const addresses = { apiListen: '127.0.0.1:0', agentListen: `127.0.0.1:${agentPort}`, publicHost: ['127.0.0.1'] };
    const config = await readConfig(readFlags(ServerFlags, { dataDir, ...addresses }, {}));
    const app = await startApp({ config, clock: systemClock, log, random: Math.random, pid: process.pid });
    loopDelay.enable();
    const adminToken = await readFile(join(dataDir, 'admin-token'), 'utf8');
    access = { url: app.urls.apiUrl, ca: await readFile(join(dataDir, 'ca.pem'), 'utf8'), token: adminToken.trim() };
    return app.urls.agentUrl;
  },

  /** The API, as admin. */
  access(): ApiOptions {
    if (access === undefined) throw new Error('the server has not started');
    return access;
  },

  load: (): Load => loadNow(),

  /** The loop's delay in ms since it was asked for last, or since the start. */
  loopDelay(): { p50: number; p99: number; max: number } {
    const ms = (ns: number) => ns / NS_PER_MS;
    const delay = { p50: ms(loopDelay.percentile(50)), p99: ms(loopDelay.percentile(99)), max: ms(loopDelay.max) };
    loopDelay.reset();
    return delay;
  },
};

export type FleetServerPeer = typeof methods;
serve(methods);
