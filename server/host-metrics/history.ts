/** What a host used over a time, in points of even steps: read from the store in pages, joined with what is not there yet. */
import { setImmediate } from 'node:timers/promises';
import type { HostMetricRows } from '../store/host-metrics.ts';
import { type Cells, cellsOf, merged } from './cells.ts';
import { decodeCells, decodeSamples, type StoredSample } from './rows.ts';
import { COARSE_STEP, FINE_STEP, type Plan } from './steps.ts';

/** Rows that are read in one turn: of samples, and of cells. */
const SAMPLE_ROWS_PER_TURN = 24;
const CELL_ROWS_PER_TURN = 200;
/** How often it is read again because samples went into the store meanwhile, which they do every five minutes. */
const MAX_TRIES = 3;

/** The cells of each step that has any, by its beginning in Unix seconds. */
export type Points = ReadonlyMap<number, Cells>;

/**
 * @param waiting samples that are not in the store yet
 * @throws FairleadError STORE_UNAVAILABLE, or the reason of `signal`
 */
export async function readHistory(
  rows: HostMetricRows,
  hostId: string,
  plan: Plan,
  waiting: () => readonly StoredSample[],
  signal: AbortSignal,
): Promise<Points> {
  for (let tries = 1; ; tries++) {
    const [first] = waiting();
    const points = new PointMap(plan);
    await readRows(rows, hostId, plan, points, signal);
    const left = waiting();
    if (first !== undefined && left[0] !== first && tries < MAX_TRIES) continue;
    for (const { at, figures } of left) points.add(at, cellsOf([figures]));
    return points.all;
  }
}

class PointMap {
  readonly all = new Map<number, Cells>();
  readonly #plan: Plan;

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  add(at: number, cells: Cells | undefined): void {
    const { from, to, step } = this.#plan;
    if (cells === undefined || at < from || at >= to) return;
    const begin = Math.floor(at / step) * step;
    this.all.set(begin, merged(this.all.get(begin), cells));
  }
}

async function readRows(
  rows: HostMetricRows,
  hostId: string,
  plan: Plan,
  points: PointMap,
  signal: AbortSignal,
): Promise<void> {
  const host = await rows.host(hostId);
  if (host === undefined) return;
  const read = async (step: number, from: number, to: number, take: (at: number, data: Uint8Array) => void) => {
    const limit = step === 0 ? SAMPLE_ROWS_PER_TURN : CELL_ROWS_PER_TURN;
    for (let next = from; next < to; ) {
      signal.throwIfAborted();
      const page = await rows.read(host.ref, step, next, to, limit);
      for (const { at, data } of page) take(at, data);
      if (page.length < limit) return;
      next = (page.at(-1)?.at ?? to) + 1;
      await setImmediate();
    }
  };
  const takeCells = (at: number, data: Uint8Array) => points.add(at, decodeCells(data));
  if (plan.rows === 0) {
    await read(0, Math.floor(plan.from / FINE_STEP) * FINE_STEP, plan.to, (from, data) => {
      for (const { at, figures } of decodeSamples(from, data)) points.add(at, cellsOf([figures]));
    });
    return;
  }
  // What is later is not in rows of an hour each yet.
  const coarseTo = plan.rows === COARSE_STEP ? Math.max(plan.from, host.hourlyTo) : plan.from;
  await read(COARSE_STEP, plan.from, Math.min(plan.to, coarseTo), takeCells);
  await read(FINE_STEP, coarseTo, plan.to, takeCells);
}
