/** Memory of a real server per idle agent at 1,000 agents, against bare mutual-TLS WebSockets. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { seedFleet, startFleet } from '../../support/fleet.ts';
import { type Server, startServer } from '../../support/mesh.ts';
import type { Cleanup } from '../../support/tmp.ts';
import { waitFor } from '../../support/wait.ts';
import { startPeer } from '../peer.ts';
import type { BareServerPeer } from '../peers/bare-server.ts';
import type { HoldPeer } from '../peers/hold.ts';
import type { Row } from '../table.ts';
import { makeTls } from '../tls.ts';

const AGENTS = 1_000;
const PROCESSES = 4;
const TARGET_KIB = 100;
/** Lets the server come to rest after the rush. */
const SETTLE_MS = 3_000;

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** KiB per socket of a process that does nothing but hold mutual-TLS WebSockets. */
async function bare(): Promise<number> {
  const tls = await makeTls();
  const server = startPeer<BareServerPeer>('bare-server.ts');
  const clients = Array.from({ length: PROCESSES }, () => startPeer<HoldPeer>('hold.ts'));
  try {
    const port = await server.call('listen', tls);
    const hold = (count: number) => Promise.all(clients.map((client) => client.call('hold', { port, tls, count })));
    await hold(10); // what the first connections load is not theirs
    await sleep(SETTLE_MS);
    const before = residentKib(server.pid);
    await hold(AGENTS / PROCESSES);
    await sleep(SETTLE_MS);
    return (residentKib(server.pid) - before) / AGENTS;
  } finally {
    await Promise.all([server, ...clients].map((peer) => peer.close()));
  }
}

async function online(server: Server): Promise<number> {
  const { text } = await server.api.get('/metrics', {});
  return Number(/^fairlead_sessions(?:\{[^}]*\})? (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

/** KiB per agent of a real server. */
async function mesh(cleanup: Cleanup): Promise<number> {
  const fleet = await seedFleet(cleanup, await startServer(cleanup), AGENTS + PROCESSES * 10);
  const { server } = fleet;
  const first = fleet.stateDirs.splice(0, PROCESSES * 10);
  const settled = async (agents: number) => {
    await waitFor(`${agents} agents`, async () => (await online(server)) === agents, {
      timeoutMs: 60_000,
      everyMs: 200,
    });
    await sleep(SETTLE_MS);
    return residentKib(server.process.pid);
  };
  startFleet(cleanup, first, 1);
  const before = await settled(first.length);
  startFleet(cleanup, fleet.stateDirs, PROCESSES);
  return ((await settled(AGENTS + first.length)) - before) / AGENTS;
}

export async function idleAgents(): Promise<Row[]> {
  const undo: (() => unknown)[] = [];
  try {
    const baseline = await bare();
    const value = await mesh({ after: (fn) => void undo.unshift(fn) });
    return [
      {
        figure: `server memory per idle agent, ${AGENTS} agents`,
        value,
        unit: 'KiB',
        baseline,
        against: 'bare mTLS ws',
        target: `≤ ${TARGET_KIB} KiB`,
        held: value <= TARGET_KIB,
      },
    ];
  } finally {
    for (const fn of undo) await fn();
  }
}
