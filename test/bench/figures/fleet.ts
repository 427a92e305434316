/** A fleet of idle agents on a real server, in processes of their own. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Cleanup, defer, tempDir } from '../../support/tmp.ts';
import { type Peer, startPeer } from '../peer.ts';
import type { FleetAgentsPeer, FleetState } from '../peers/fleet-agents.ts';
import type { FleetServerPeer } from '../peers/fleet-server.ts';

/** Light processes that share the agents: one would be slower than the server. */
const PROCESSES = 3;
/** Agents that connect at once per process at first; when they come back, they all come at once. */
const AT_ONCE = 16;
/** So many hosts share an address, as behind the NAT of a site. */
const HOSTS_PER_ADDRESS = 500;

/** Addresses of this machine that differ from each other; one alone has ports for 28,000 connections. */
function addressOf(host: number): string {
  const site = Math.floor(host / HOSTS_PER_ADDRESS);
  return `127.0.${1 + Math.floor(site / 250)}.${1 + (site % 250)}`;
}

export interface Fleet {
  server: Peer<FleetServerPeer>;
  /** Connects `count` more agents. Resolves once they are online. */
  connect(count: number): Promise<void>;
  states(): Promise<FleetState[]>;
  /** Resolves once no agent is online. */
  allGone(): Promise<void>;
  /** Kills the server without warning and starts it again. @returns when, ms since 1970 */
  killAndRestart(): Promise<{ killedAt: number; readyAt: number }>;
}

/** A server that knows `count` hosts, none of which is online. */
export async function startFleet(cleanup: Cleanup, count: number): Promise<Fleet> {
  const dataDir = join(await tempDir(cleanup, 'fleet'), 'data');
  const startProcess = <M extends FleetServerPeer | FleetAgentsPeer>(file: string): Peer<M> => {
    const peer = startPeer<M>(file);
    defer(cleanup, () => peer.close());
    return peer;
  };
  const startServer = () => startProcess<FleetServerPeer>('fleet-server.ts');
  const seeder = startServer();
  const { ca, agents } = await seeder.call('seed', { dataDir, count });
  await seeder.close();
  const processes = Array.from({ length: PROCESSES }, () => startProcess<FleetAgentsPeer>('fleet-agents.ts'));
  const hosts = agents.map((agent, i) => ({ ...agent, address: addressOf(i) }));
  const fleet: Fleet = { server: startServer(), connect, states, allGone, killAndRestart };
  const url = await fleet.server.call('start', { dataDir, agentPort: 0 });

  async function connect(more: number): Promise<void> {
    const chosen = hosts.splice(0, more);
    const shares = processes.map((_, p) => chosen.filter((_host, i) => i % processes.length === p));
    await Promise.all(
      processes.map((peer, p) => peer.call('connect', { url, ca, agents: shares[p] ?? [], atOnce: AT_ONCE })),
    );
  }

  async function states(): Promise<FleetState[]> {
    return await Promise.all(processes.map((peer) => peer.call('state')));
  }

  async function allGone(): Promise<void> {
    await Promise.all(processes.map((peer) => peer.call('allGone')));
  }

  async function killAndRestart(): Promise<{ killedAt: number; readyAt: number }> {
    await Promise.all(processes.map((peer) => peer.call('reset')));
    const gone = allGone();
    const killedAt = Date.now();
    await fleet.server.close();
    fleet.server = startServer();
    const started = fleet.server.call('start', { dataDir, agentPort: Number(new URL(url).port) });
    await started;
    const readyAt = Date.now();
    await gone;
    return { killedAt, readyAt };
  }

  return fleet;
}

/** How a fleet came back. Times in ms. */
export interface Comeback {
  /** From the kill until the server listens again, and until the last agent has been welcomed. */
  readonly readyMs: number;
  readonly allBackMs: number;
  /** Processor time of the new server, its start included. */
  readonly cpuMs: number;
  /** Agents that were not back by the limit, and those of them that have given up. */
  readonly missing: number;
  readonly ended: number;
  readonly loopDelay: { p50: number; p99: number; max: number };
  readonly handshakesMs: number[];
  readonly attempts: number;
  readonly failures: Readonly<Record<string, number>>;
}

const LOOK_EVERY_MS = 100;

/** Kills the server, starts it again and waits until `count` agents are back, or have given up, or `limitMs` are over. */
export async function comeback(fleet: Fleet, count: number, limitMs: number): Promise<Comeback> {
  const { killedAt, readyAt } = await fleet.killAndRestart();
  let states: FleetState[];
  const sum = (of: (state: FleetState) => number) => states.reduce((total, state) => total + of(state), 0);
  do {
    await sleep(LOOK_EVERY_MS);
    states = await fleet.states();
  } while (sum((state) => state.online + state.ended) < count && Date.now() - killedAt < limitMs);
  const failures: Record<string, number> = {};
  for (const state of states) {
    for (const [cause, times] of Object.entries(state.failures)) failures[cause] = (failures[cause] ?? 0) + times;
  }
  const loopDelay = await fleet.server.call('loopDelay');
  return {
    loopDelay,
    allBackMs: Math.max(...states.map((state) => state.lastAt)) - killedAt,
    readyMs: readyAt - killedAt,
    cpuMs: (await fleet.server.call('load')).cpuMs,
    missing: count - sum((state) => state.online),
    ended: sum((state) => state.ended),
    handshakesMs: states.flatMap((state) => state.handshakesMs),
    attempts: sum((state) => state.attempts),
    failures,
  };
}
