/** What a process costs: its memory after a full collection, and the processor time that it has taken. */
import { type Memory, settledMemory } from './measure.ts';

export interface Load extends Memory {
  /** Time on a processor since the process began, in ms. */
  readonly cpuMs: number;
  readonly atMs: number;
}

const US_PER_MS = 1000;

/** The load of this process. Collects first, which takes time itself: it lies before `atMs`. */
export function loadNow(): Load {
  const memory = settledMemory();
  const { user, system } = process.cpuUsage();
  return { ...memory, cpuMs: (user + system) / US_PER_MS, atMs: performance.now() };
}
