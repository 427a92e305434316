/** A process of idle agents: the product's own link, which beats and comes back, over sockets from several addresses. */
import { X509Certificate } from 'node:crypto';
import https from 'node:https';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, createSecureContext } from 'node:tls';
import { pino } from 'pino';
import type { RunState } from '../../../agent/identity/state-lock.ts';
import { stayConnected } from '../../../agent/link/stay-connected.ts';
import { systemClock } from '../../../shared/clock.ts';
import type { Hello } from '../../../shared/messages/control.ts';
import { PROTOCOL_VERSIONS } from '../../../shared/messages/index.ts';
import { COMPRESSIONS } from '../../../shared/mux/handshake.ts';
import { fixedPair } from '../../support/fixed-pair.ts';
import type { SeededAgent } from '../../support/fleet.ts';
import { serve } from '../peer.ts';

export interface FleetOptions {
  readonly url: string;
  readonly ca: string;
  readonly agents: readonly (SeededAgent & { readonly address: string })[];
  /** Agents that connect at the same time at first. */
  readonly atOnce: number;
}

export interface FleetState {
  readonly online: number;
  /** Agents that will not come back. */
  readonly ended: number;
  /** When the last of them came online, ms since 1970. */
  readonly lastAt: number;
  /** Attempts to connect since the last `reset`, and the time from TCP to welcome of those that led to a session, in ms. */
  readonly attempts: number;
  readonly handshakesMs: readonly number[];
  /** What attempts failed with. */
  readonly failures: Readonly<Record<string, number>>;
}

const log = pino({ level: 'silent' });
const never = new AbortController().signal;
const docker = { reachable: false, reason: 'a benchmark' };
const online = new Set<string>();
let ended = 0;
let lastAt = 0;
let attempts = 0;
let handshakesMs: number[] = [];
let failures: Record<string, number> = {};

/** Loads a certificate once: thousands of agents share this process, where an agent has one for itself. */
class FleetAgent extends https.Agent {
  readonly #secureContext;
  readonly #address: string;

  constructor(ca: string, { keyPem, certPem, address }: FleetOptions['agents'][number]) {
    super({ keepAlive: false, maxCachedSessions: 0 });
    this.#secureContext = createSecureContext({ ca, key: keyPem, cert: certPem, minVersion: 'TLSv1.3' });
    this.#address = address;
  }

  override createConnection({ host, port, servername }: https.RequestOptions & { servername?: string }) {
    const where = { host: host ?? '', port: Number(port), localAddress: this.#address };
    return connectTls({
      ...where,
      ...(servername === undefined ? {} : { servername }),
      secureContext: this.#secureContext,
    });
  }
}

function helloOf(name: string): Hello {
  const host = { agentVersion: '0', hostname: name, os: 'linux', arch: process.arch };
  const policy = { allow: [], deny: [] };
  const spoken = { versions: [...PROTOCOL_VERSIONS], compression: [...COMPRESSIONS] };
  return { ...spoken, ...host, instanceId: name, docker, capabilities: [], policy };
}

/** Runs one agent for ever. Resolves once it is online for the first time. */
function run({ url, ca }: FleetOptions, agent: FleetOptions['agents'][number]): Promise<void> {
  const { hostId, name, keyPem, certPem } = agent;
  const record = { hostId, name, server: '', agentUrl: url, caFingerprint: '', enrolledAt: '' };
  const identity = { record, keyPem, certPem, caPem: ca, certificate: new X509Certificate(certPem) };
  const first = Promise.withResolvers<void>();
  let startedAt = 0;
  const onState = (state: RunState, detail = '') => {
    online.delete(name);
    if (state === 'connecting') {
      attempts++;
      startedAt = performance.now();
    } else if (state === 'online') {
      online.add(name);
      lastAt = Date.now();
      handshakesMs.push(performance.now() - startedAt);
      first.resolve();
    } else if (state === 'waiting') {
      const cause = detail.replaceAll(url, 'the server').slice(0, 80);
      failures[cause] = (failures[cause] ?? 0) + 1;
    }
  };
  const vitals = { load: loadavg, streams: () => 0, docker: () => docker, onDockerState: () => () => undefined };
  const link = {
    ...fixedPair(identity),
    httpsAgent: new FleetAgent(ca, agent),
    clock: systemClock,
    log,
    random: Math.random,
  };
  const hello = () => helloOf(name);
  stayConnected({ ...link, vitals, hello, onState, onStream: (stream) => stream.finish() }, never)
    .then(({ reason }) => console.error(`${name} ended: ${reason}`))
    .catch((error: unknown) => console.error(`${name} ended:`, error))
    .finally(() => {
      ended++;
      online.delete(name);
    });
  return first.promise;
}

const methods = {
  /** Resolves once all are online. */
  async connect(options: FleetOptions): Promise<void> {
    const left = options.agents.values();
    const worker = async () => {
      for (const agent of left) await run(options, agent);
    };
    await Promise.all(Array.from({ length: options.atOnce }, worker));
  },

  state: (): FleetState => ({ online: online.size, ended, lastAt, attempts, handshakesMs, failures }),

  reset(): void {
    attempts = 0;
    handshakesMs = [];
    failures = {};
  },

  /** Waits until none is online: they have all seen the server go. */
  async allGone(): Promise<void> {
    while (online.size > 0) await sleep(5);
  },
};

export type FleetAgentsPeer = typeof methods;
serve(methods);
