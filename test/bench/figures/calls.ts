/** Small calls, alone and while bulk saturates the same session, against Node's http2 over TLS in the same run. */

import { openHttp2 } from '../links/http2.ts';
import type { CallLink } from '../links/link.ts';
import { openMux } from '../links/mux.ts';
import { MB, measureRate, percentile } from '../measure.ts';
import type { Row } from '../table.ts';
import { type BenchTls, makeTls } from '../tls.ts';

const WARM_UP_CALLS = 500;
const IDLE_CALLS = 3_000;
const RATE_MS = 1_000;
/** Calls in flight while their rate is measured; below what a session lets be unanswered. */
const IN_FLIGHT = 48;
const BULK_STREAMS = [1, 10];
const BULK_WARM_UP_MS = 500;
const BULK_MS = 3_000;

interface Latency {
  p50: number;
  p99: number;
}

async function callsFor(link: CallLink, isDone: (calls: number) => boolean): Promise<number[]> {
  const samples: number[] = [];
  while (!isDone(samples.length)) {
    const from = performance.now();
    await link.call();
    samples.push(performance.now() - from);
  }
  return samples;
}

function latency(samples: readonly number[]): Latency {
  return { p50: percentile(samples, 0.5), p99: percentile(samples, 0.99) };
}

async function callsPerSecond(link: CallLink): Promise<number> {
  let calls = 0;
  const from = performance.now();
  const caller = async () => {
    while (performance.now() - from < RATE_MS) {
      await link.call();
      calls++;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller));
  return (calls / (performance.now() - from)) * 1000;
}

async function idle(open: (tls: BenchTls) => Promise<CallLink>, tls: BenchTls): Promise<Latency & { rate: number }> {
  const link = await open(tls);
  try {
    await callsFor(link, (calls) => calls === WARM_UP_CALLS);
    const samples = await callsFor(link, (calls) => calls === IDLE_CALLS);
    return { ...latency(samples), rate: await callsPerSecond(link) };
  } finally {
    await link.close();
  }
}

async function underBulk(
  open: (tls: BenchTls) => Promise<CallLink>,
  tls: BenchTls,
  streams: number,
): Promise<Latency & { bulk: number }> {
  const link = await open(tls);
  try {
    await callsFor(link, (calls) => calls === WARM_UP_CALLS);
    await link.start('down', streams);
    const warm = performance.now() + BULK_WARM_UP_MS;
    await callsFor(link, () => performance.now() > warm);
    const rate = measureRate(() => link.sample('down'), 0, BULK_MS);
    const end = performance.now() + BULK_MS;
    const samples = await callsFor(link, () => performance.now() > end);
    return { ...latency(samples), bulk: (await rate) / MB };
  } finally {
    await link.close();
  }
}

async function idleRows(tls: BenchTls): Promise<Row[]> {
  const http2 = await idle(openHttp2, tls);
  const mux = await idle(openMux, tls);
  const against = 'http2';
  return [
    {
      figure: 'small call, idle, p50',
      value: mux.p50,
      unit: 'ms',
      baseline: http2.p50,
      against,
      target: 'within 0.05 ms',
      held: mux.p50 <= http2.p50 + 0.05,
    },
    { figure: 'small call, idle, p99', value: mux.p99, unit: 'ms', baseline: http2.p99, against },
    {
      figure: `open-answer-close, ${IN_FLIGHT} in flight`,
      value: mux.rate,
      unit: '/s',
      baseline: http2.rate,
      against,
      target: '≥ 12,000/s',
      held: mux.rate >= 12_000,
    },
  ];
}

async function bulkRows(tls: BenchTls, streams: number): Promise<Row[]> {
  const http2 = await underBulk(openHttp2, tls, streams);
  const mux = await underBulk(openMux, tls, streams);
  const under = `under ${streams} bulk stream${streams === 1 ? '' : 's'}`;
  const against = 'http2';
  return [
    { figure: `small call ${under}, p50`, value: mux.p50, unit: 'ms', baseline: http2.p50, against },
    {
      figure: `small call ${under}, p99`,
      value: mux.p99,
      unit: 'ms',
      baseline: http2.p99,
      against,
      target: '≤ 2.5 ms',
      held: mux.p99 <= 2.5,
    },
    { figure: `the bulk meanwhile, ${streams}`, value: mux.bulk, unit: 'MB/s', baseline: http2.bulk, against },
  ];
}

export async function calls(): Promise<Row[]> {
  const tls = await makeTls();
  const rows = await idleRows(tls);
  for (const streams of BULK_STREAMS) rows.push(...(await bulkRows(tls, streams)));
  return rows;
}
