/** One reader of 500 stops reading: what the other 499 lose, and what both ends hold for it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { INITIAL_WINDOW_BYTES, SESSION_BUDGET_BYTES } from '../../../shared/limits.ts';
import type { MuxStream } from '../../../shared/mux/stream.ts';
import { bulkKind, openMux } from '../links/mux.ts';
import { KIB, MB, measureRate, median, settledMemory } from '../measure.ts';
import type { Row } from '../table.ts';
import { makeTls } from '../tls.ts';

const STREAMS = 500;
const ROUNDS = 30;
const MEASURE_MS = 200;
const STALL_MS = 1_000;
/** The largest window that one of so many streams can have: the first, or an even part of their session's budget. */
const WINDOW_BYTES = Math.max(INITIAL_WINDOW_BYTES, SESSION_BUDGET_BYTES / STREAMS);

interface Rates {
  flowing: number[];
  stalled: number[];
}

export async function stalled(): Promise<Row[]> {
  const link = await openMux(await makeTls());
  try {
    const streams: MuxStream[] = [];
    for (let i = 0; i < STREAMS; i++) {
      const stream = link.session.open(bulkKind, { down: true });
      await stream.reply;
      stream.bytes.on('error', () => undefined); // the end of the other process
      stream.bytes.on('data', (data: Buffer) => {
        // Of the one that will stall nothing is counted: the figure is what the others get.
        if (i > 0) link.counter.bytes += data.length;
      });
      streams.push(stream);
    }
    const [victim, ...others] = streams;
    if (victim === undefined) return [];
    const rates = await compareRates(victim, () => link.sample('down'));
    const { here, there } = await heldFor(victim, others, link.otherMemory);
    return rows(rates, here, there);
  } finally {
    await link.close();
  }
}

/**
 * The rate of the others with the victim flowing and stalled, in pairs whose order alternates, so that neither a machine
 * that warms up nor one that gets busy favours one of them.
 */
async function compareRates(victim: MuxStream, read: () => Promise<{ bytes: number; atMs: number }>): Promise<Rates> {
  const rates: Rates = { flowing: [], stalled: [] };
  const measureWith = async (state: keyof Rates) => {
    if (state === 'stalled') victim.bytes.pause();
    else victim.bytes.resume();
    rates[state].push(await measureRate(read, MEASURE_MS / 4, MEASURE_MS));
  };
  await sleep(STALL_MS);
  for (let round = 0; round < ROUNDS; round++) {
    const order = round % 2 === 0 ? (['flowing', 'stalled'] as const) : (['stalled', 'flowing'] as const);
    for (const state of order) await measureWith(state);
  }
  return rates;
}

/** Bytes that both ends hold because one stream is not read while the others flow: all streams rest when it is measured. */
async function heldFor(victim: MuxStream, others: readonly MuxStream[], otherMemory: () => Promise<number>) {
  const rest = async () => {
    for (const { bytes } of others) bytes.pause();
    await sleep(STALL_MS / 2);
    return { here: settledMemory().usedBytes, there: await otherMemory() };
  };
  // Both readings have every stream's window full; between them only the victim has not been read.
  victim.bytes.pause();
  const before = await rest();
  for (const { bytes } of others) bytes.resume();
  await sleep(STALL_MS);
  const after = await rest();
  return { here: after.here - before.here, there: after.there - before.there };
}

function rows(rates: Rates, here: number, there: number): Row[] {
  const flowing = median(rates.flowing);
  const ratio = median(rates.stalled.map((rate, round) => rate / (rates.flowing[round] ?? Number.NaN)));
  const lossPercent = Math.max(0, (1 - ratio) * 100);
  const growth = Math.max(0, here) + Math.max(0, there);
  return [
    {
      figure: `${STREAMS - 1} streams beside a stalled reader`,
      value: (flowing * ratio) / MB,
      unit: 'MB/s',
      baseline: flowing / MB,
      against: 'none stalled',
      target: 'loss ≤ 2 %',
      held: lossPercent <= 2,
    },
    {
      figure: 'memory beyond full windows after the stall, both ends',
      value: growth / KIB,
      unit: 'KiB',
      target: `≤ ${WINDOW_BYTES / KIB} KiB, its window`,
      held: growth <= WINDOW_BYTES,
    },
  ];
}
