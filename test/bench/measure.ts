/** Small arithmetic and memory readings that several figures need. */
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** The p-th percentile, 0 to 1, of samples in any order. */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN;
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

/** A counter read at a time, so that a rate does not depend on when the answer travels. */
export interface Sample {
  bytes: number;
  atMs: number;
}

/** Bytes per second between two samples of one process. */
export function rate(from: Sample, to: Sample): number {
  return ((to.bytes - from.bytes) / (to.atMs - from.atMs)) * 1000;
}

/** Lets a flow warm up, then measures its rate at the receiver, in bytes per second. */
export async function measureRate(read: () => Promise<Sample>, warmUpMs: number, ms: number): Promise<number> {
  await sleep(warmUpMs);
  const from = await read();
  await sleep(ms);
  return rate(from, await read());
}

export interface Memory {
  residentBytes: number;
  heapBytes: number;
  /** Heap plus what lives outside of it: buffers. */
  usedBytes: number;
}

let collect: (() => void) | undefined;

/** Memory after a full collection. */
export function settledMemory(): Memory {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  for (let i = 0; i < 3; i++) collect();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { residentBytes: rss, heapBytes: heapUsed, usedBytes: heapUsed + external };
}

export const MB = 1e6;
export const KIB = 1024;
