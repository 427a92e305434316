/**
 * What a fleet of idle agents costs a real server, against bare mutual-TLS WebSockets, and how it comes back after the
 * server was killed. Scale it with FAIRLEAD_BENCH_AGENTS; 10,000 take about five minutes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HEARTBEAT_MS } from '../../../shared/limits.ts';
import type { Load } from '../load.ts';
import { KIB, percentile } from '../measure.ts';
import { startPeer } from '../peer.ts';
import type { BareServerPeer } from '../peers/bare-server.ts';
import type { HoldPeer } from '../peers/hold.ts';
import type { Row } from '../table.ts';
import { makeTls } from '../tls.ts';
import { type Comeback, comeback, startFleet } from './fleet.ts';

const AGENTS = Number(process.env['FAIRLEAD_BENCH_AGENTS'] ?? 2_000);
/** Connect first; what they load is not the cost of an agent. */
const FIRST = 40;
const PROCESSES = 2;
const FULL_FLEET = 10_000;
/** How long a process is watched that nobody beats at: what it does then is not the beats'. */
const IDLE_MS = 5_000;
/** Lets the server come to rest after the rush. */
const SETTLE_MS = 3_000;
const COMEBACK_LIMIT_MS = 120_000;

interface Cost {
  residentKib: number;
  usedKib: number;
  /** Of one core, in percent, for the beats of 10,000. */
  beatsPercent: number;
}

/** Measures what `connect` adds to a process: memory per agent, and the processor time of one round of beats. */
async function costOf(load: () => Promise<Load>, connect: (count: number) => Promise<unknown>): Promise<Cost> {
  const idle = await share(load, IDLE_MS);
  await connect(FIRST);
  await sleep(SETTLE_MS);
  const before = await load();
  await connect(AGENTS);
  await sleep(SETTLE_MS);
  const held = await load();
  const beating = await share(load, HEARTBEAT_MS);
  return {
    residentKib: (held.residentBytes - before.residentBytes) / KIB / AGENTS,
    usedKib: (held.usedBytes - before.usedBytes) / KIB / AGENTS,
    beatsPercent: (beating - idle) * 100 * (FULL_FLEET / (AGENTS + FIRST)),
  };
}

/** The share of a core that a process takes for `ms`, without what looking at it takes. */
async function share(load: () => Promise<Load>, ms: number): Promise<number> {
  const first = await load();
  const from = await load();
  await sleep(ms);
  const to = await load();
  const looking = from.cpuMs - first.cpuMs;
  return (to.cpuMs - from.cpuMs - looking) / (to.atMs - from.atMs);
}

/** The cost of a socket in a process that does nothing but hold mutual-TLS WebSockets. */
async function bare(): Promise<Cost> {
  const tls = await makeTls();
  const server = startPeer<BareServerPeer>('bare-server.ts');
  const clients = Array.from({ length: PROCESSES }, () => startPeer<HoldPeer>('hold.ts'));
  try {
    const port = await server.call('listen', tls);
    const connect = (count: number) =>
      Promise.all(clients.map((client) => client.call('hold', { port, tls, count: count / PROCESSES })));
    return await costOf(() => server.call('load'), connect);
  } finally {
    await Promise.all([server, ...clients].map((peer) => peer.close()));
  }
}

async function mesh(): Promise<Cost & { comeback: Comeback }> {
  const undo: (() => unknown)[] = [];
  try {
    const fleet = await startFleet({ after: (fn) => void undo.unshift(fn) }, AGENTS + FIRST);
    const cost = await costOf(() => fleet.server.call('load'), fleet.connect);
    return { ...cost, comeback: await comeback(fleet, AGENTS + FIRST, COMEBACK_LIMIT_MS) };
  } finally {
    for (const fn of undo) await fn();
  }
}

/** A row whose target is an upper limit. */
function limited(row: Pick<Row, 'figure' | 'value' | 'unit' | 'baseline'>, limit: number): Row {
  const compared = row.baseline === undefined ? {} : { against: 'bare mTLS ws' };
  return { ...row, ...compared, target: `≤ ${limit} ${row.unit}`, held: row.value <= limit };
}

function comebackRows({ allBackMs, missing, ended, loopDelay, handshakesMs, cpuMs }: Comeback): Row[] {
  const back = `${AGENTS} agents after a kill -9 of the server`;
  const allBack = limited({ figure: `${back}: all back`, value: allBackMs / 1000, unit: 's' }, 30);
  return [
    missing === 0 ? allBack : { ...allBack, atLeast: true, held: false },
    limited({ figure: `${back}: refused for good`, value: ended, unit: 'agents' }, 0),
    limited({ figure: `${back}: loop delay p99`, value: loopDelay.p99, unit: 'ms' }, 50),
    { figure: `${back}: TCP to welcome p50`, value: percentile(handshakesMs, 0.5), unit: 'ms' },
    { figure: `${back}: TCP to welcome p99`, value: percentile(handshakesMs, 0.99), unit: 'ms' },
    { figure: `${back}: the server's processor time`, value: cpuMs / 1000, unit: 's' },
  ];
}

export async function idleAgents(): Promise<Row[]> {
  const baseline = await bare();
  const value = await mesh();
  const memory = `server memory per idle agent, ${AGENTS} agents`;
  const row = (figure: string, of: (cost: Cost) => number, unit: string) => {
    return { figure, value: of(value), baseline: of(baseline), unit };
  };
  return [
    limited(
      row(memory, (cost) => cost.residentKib, 'KiB'),
      80,
    ),
    row(`${memory}, heap and buffers`, (cost) => cost.usedKib, 'KiB'),
    limited(
      row(`heartbeats of 10,000 agents, from ${AGENTS}`, (cost) => cost.beatsPercent, '% of a core'),
      6,
    ),
    ...comebackRows(value.comeback),
  ];
}
