/** Logs over slow links with and without compression, what it costs the agent, and that packed bytes lose nothing by it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { COMPRESSIONS } from '../../../shared/mux/handshake.ts';
import { Echoes, type Latency } from '../echoes.ts';
import { openLogs } from '../links/logs.ts';
import { logSample, type SampleName } from '../log-samples.ts';
import { MB, rate } from '../measure.ts';
import { type LinkShape, mbitPerSecond } from '../systems.ts';
import type { Row } from '../table.ts';
import { type BenchTls, makeTls } from '../tls.ts';

interface Case extends LinkShape {
  warmUpMs: number;
  ms: number;
  echoEveryMs: number;
}

const LINKS: Case[] = [
  { mbit: 2, roundTripMs: 300, warmUpMs: 5_000, ms: 6_000, echoEveryMs: 50 },
  { mbit: 20, roundTripMs: 40, warmUpMs: 2_000, ms: 4_000, echoEveryMs: 20 },
];
const LOGS: SampleName[] = ['access', 'json'];
const NAMES: Record<SampleName, string> = { access: 'access log', json: 'JSON log', noise: 'packed bytes' };
const MIN_GAIN = 3;
const MIN_NOISE_RATIO = 0.95;

interface Measured {
  /** Bytes of the log per second. */
  rate: number;
  /** What the agent's process used of a core per MB of it, in ms. */
  cpuMsPerMb: number;
  echo: Latency;
}

async function measure(tls: BenchTls, o: Case, sample: SampleName, compressed: boolean): Promise<Measured> {
  const link = await openLogs(tls, o, compressed ? COMPRESSIONS : []);
  try {
    const echo = await link.echo();
    await link.start(sample);
    await sleep(o.warmUpMs);
    const echoes = new Echoes(echo, o.echoEveryMs);
    const [cpuFrom, from] = [await link.agentCpuMs(), link.counter.sample()];
    await sleep(o.ms);
    const [cpuTo, to] = [await link.agentCpuMs(), link.counter.sample()];
    await echoes.stop();
    const cpuMsPerMb = ((cpuTo - cpuFrom) / (to.bytes - from.bytes)) * MB;
    return { rate: rate(from, to), cpuMsPerMb, echo: echoes.latency() };
  } finally {
    await link.close();
  }
}

/** With and without, at the same time over links of their own. */
async function compare(tls: BenchTls, o: Case, sample: SampleName): Promise<Row[]> {
  const [on, off] = await Promise.all([measure(tls, o, sample, true), measure(tls, o, sample, false)]);
  const figure = `${o.mbit} Mbit/s, ${o.roundTripMs} ms round trip, ${NAMES[sample]}`;
  const against = 'plain';
  const cpu = { figure: `${figure}: the agent's CPU per MB`, value: on.cpuMsPerMb, unit: 'ms', against };
  const echo = { figure: `${figure}: echo meanwhile, p99`, value: on.echo.p99, unit: 'ms', against };
  const rest: Row[] = [
    { ...cpu, baseline: off.cpuMsPerMb },
    { ...echo, baseline: off.echo.p99 },
  ];
  const gain = on.rate / off.rate;
  if (sample === 'noise') {
    const shown = { value: mbitPerSecond(on.rate), unit: 'Mbit/s', baseline: mbitPerSecond(off.rate), against };
    const held = gain >= MIN_NOISE_RATIO;
    return [{ figure: `${figure}: rate`, ...shown, target: `ratio ≥ ${MIN_NOISE_RATIO}`, held }, ...rest];
  }
  const { bytes, lines } = logSample(sample);
  const perByte = lines / bytes.byteLength;
  const shown = { value: on.rate * perByte, unit: 'lines/s', baseline: off.rate * perByte, against };
  return [{ figure: `${figure}: rate`, ...shown, target: `ratio ≥ ${MIN_GAIN}`, held: gain >= MIN_GAIN }, ...rest];
}

export async function compression(): Promise<Row[]> {
  const tls = await makeTls();
  const rows: Row[] = [];
  for (const o of LINKS) {
    for (const sample of [...LOGS, 'noise'] as const) rows.push(...(await compare(tls, o, sample as SampleName)));
  }
  return rows;
}
