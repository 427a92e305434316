/** Bulk over one, 10 and 100 streams, both directions, against raw WebSocket messages over the same TLS. */
import type { BulkLink, Direction } from '../links/link.ts';
import { openMux } from '../links/mux.ts';
import { openRawWs } from '../links/raw-ws.ts';
import { MB, measureRate, median } from '../measure.ts';
import type { Row } from '../table.ts';
import { type BenchTls, makeTls } from '../tls.ts';

/** Rounds of raw and mux in turn, so that what else the machine does meets both. */
const ROUNDS = 5;
const WARM_UP_MS = 300;
const MEASURE_MS = 600;
const TARGETS = [
  { streams: 1, ratio: 0.9 },
  { streams: 10, ratio: 1 },
  { streams: 100, ratio: 1 },
];

async function measure(open: Promise<BulkLink>, direction: Direction, streams: number): Promise<number> {
  const link = await open;
  try {
    await link.start(direction, streams);
    return (await measureRate(() => link.sample(direction), WARM_UP_MS, MEASURE_MS)) / MB;
  } finally {
    await link.close();
  }
}

async function compare(tls: BenchTls, direction: Direction, streams: number, target: number): Promise<Row> {
  const raw: number[] = [];
  const mux: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    raw.push(await measure(openRawWs(tls), direction, 1));
    mux.push(await measure(openMux(tls), direction, streams));
  }
  // The median of the rounds' ratios: a round that something else disturbed does not count.
  const ratio = median(mux.map((rate, round) => rate / (raw[round] ?? Number.NaN)));
  const baseline = median(raw);
  return {
    figure: `bulk, ${streams} stream${streams === 1 ? '' : 's'}, ${direction === 'down' ? 'agent to server' : 'server to agent'}`,
    value: ratio * baseline,
    unit: 'MB/s',
    baseline,
    against: 'raw ws',
    target: `ratio ≥ ${target}`,
    held: ratio >= target,
  };
}

export async function bulk(): Promise<Row[]> {
  const tls = await makeTls();
  const rows: Row[] = [];
  for (const { streams, ratio } of TARGETS) {
    for (const direction of ['down', 'up'] as const) rows.push(await compare(tls, direction, streams, ratio));
  }
  return rows;
}
