/** Three bulk streams and a small echo over slow and long links: how much of the link the bulk gets, and how long the echo takes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Echoes, type Latency } from '../echoes.ts';
import type { Direction, Echo, EchoLink } from '../links/link.ts';
import { rate, type Sample } from '../measure.ts';
import { type LinkShape, mbitPerSecond, overLink, SYSTEMS, type SystemName } from '../systems.ts';
import type { Row } from '../table.ts';
import { type BenchTls, makeTls } from '../tls.ts';

type Way = Direction | 'both';

interface Case extends LinkShape {
  way: Way;
  systems: readonly SystemName[];
  /** Whether the systems run at the same time: where the links are so slow that all of them leave the machine at rest. */
  atOnce: boolean;
  /** Of the echo; it must not take a part of the link worth mentioning. */
  everyMs: number;
  warmUpMs: number;
  ms: number;
  minMbit: number;
  maxEchoMs: number;
}

const BULK_STREAMS = 3;
const IDLE_ECHOES = 20;
/** Lets the processes of all systems come up before the first echo. */
const SETTLE_MS = 500;

const ALL = Object.keys(SYSTEMS) as SystemName[];
const BEST: SystemName[] = ['ours', 'http2 4 MiB'];
const MEDIUM = {
  ...{ mbit: 20, roundTripMs: 40, minMbit: 19, maxEchoMs: 100 },
  ...{ atOnce: true, everyMs: 20, warmUpMs: 2_000, ms: 4_000 },
};
const FAT = {
  ...{ mbit: 100, roundTripMs: 100, minMbit: 95, maxEchoMs: 150 },
  ...{ atOnce: false, everyMs: 20, warmUpMs: 2_500, ms: 4_000 },
};
const THIN = {
  ...{ mbit: 2, roundTripMs: 300, minMbit: 1.8, maxEchoMs: 600 },
  ...{ atOnce: true, everyMs: 50, warmUpMs: 5_000, ms: 8_000 },
};

const CASES: Case[] = [
  { ...MEDIUM, way: 'down', systems: ALL },
  { ...MEDIUM, way: 'up', systems: BEST },
  { ...MEDIUM, way: 'both', systems: BEST },
  { ...FAT, way: 'down', systems: ALL },
  { ...THIN, way: 'down', systems: ALL },
];

const WAYS: Record<Way, string> = { down: 'agent to server', up: 'server to agent', both: 'both ways' };

interface Measured {
  system: SystemName;
  /** The bulk's payload in Mbit/s; of two directions the slower one. */
  goodput: number;
  idle: Latency;
  loaded: Latency;
}

async function echoFor(echo: Echo, everyMs: number, ms: number): Promise<Latency> {
  const echoes = new Echoes(echo, everyMs);
  await sleep(ms);
  await echoes.stop();
  return echoes.latency();
}

async function measure(ends: EchoLink, o: Case): Promise<Omit<Measured, 'system'>> {
  const echo = await ends.echo();
  await sleep(SETTLE_MS);
  const idle = await echoFor(echo, o.everyMs, o.everyMs * IDLE_ECHOES);
  const directions: Direction[] = o.way === 'both' ? ['down', 'up'] : [o.way];
  for (const direction of directions) await ends.start(direction, BULK_STREAMS);
  await sleep(o.warmUpMs);
  const echoes = new Echoes(echo, o.everyMs);
  const read = () => Promise.all(directions.map((direction): Promise<Sample> => ends.sample(direction)));
  const from = await read();
  await sleep(o.ms);
  const to = await read();
  await echoes.stop();
  const rates = to.map((sample, index) => rate(from[index] ?? sample, sample));
  return { goodput: mbitPerSecond(Math.min(...rates)), idle, loaded: echoes.latency() };
}

function rows(o: Case, measured: readonly Measured[]): Row[] {
  const [ours, ...others] = measured;
  if (ours === undefined) return [];
  const figure = `${o.mbit} Mbit/s, ${o.roundTripMs} ms round trip, ${WAYS[o.way]}`;
  const compared = (value: (m: Measured) => number) => others.map((m) => ({ name: m.system, value: value(m) }));
  return [
    {
      figure: `${figure}: ${BULK_STREAMS} bulk streams`,
      value: ours.goodput,
      unit: 'Mbit/s',
      others: compared((m) => m.goodput),
      target: `≥ ${o.minMbit} Mbit/s`,
      held: ours.goodput >= o.minMbit,
    },
    {
      figure: `${figure}: echo meanwhile, p99`,
      value: ours.loaded.p99,
      unit: 'ms',
      atLeast: ours.loaded.atLeast,
      others: others.map(({ system, loaded }) => ({ name: system, value: loaded.p99, atLeast: loaded.atLeast })),
      target: `≤ ${o.maxEchoMs} ms`,
      held: ours.loaded.p99 <= o.maxEchoMs,
    },
    {
      figure: `${figure}: echo meanwhile, p50`,
      value: ours.loaded.p50,
      unit: 'ms',
      others: compared((m) => m.loaded.p50),
    },
    {
      figure: `${figure}: echo before, p50`,
      value: ours.idle.p50,
      unit: 'ms',
      others: compared((m) => m.idle.p50),
    },
  ];
}

async function compare(tls: BenchTls, o: Case): Promise<Row[]> {
  const one = async (system: SystemName): Promise<Measured> => ({
    system,
    ...(await overLink(tls, system, o, (ends) => measure(ends, o))),
  });
  if (o.atOnce) return rows(o, await Promise.all(o.systems.map(one)));
  const measured: Measured[] = [];
  for (const system of o.systems) measured.push(await one(system));
  return rows(o, measured);
}

export async function slowLinks(): Promise<Row[]> {
  const tls = await makeTls();
  const table: Row[] = [];
  for (const o of CASES) table.push(...(await compare(tls, o)));
  return table;
}
