/** How much memory the streams of all agents may take together. */
import { totalmem } from 'node:os';

const MIB = 1024 * 1024;
/** What the operator may set, in MiB: one session's windows need some room in any case. */
export const STREAM_MEMORY_MIB = { minimum: 16, maximum: 1024 * 1024 } as const;
const SMALLEST_DEFAULT_MIB = 128;
const LARGEST_DEFAULT_MIB = 1024;

/** What this process may use in all, in bytes: the machine's memory, or what its container or service is held to. */
export function machineBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** A quarter of the machine's memory, within reason, unless the operator says otherwise. @returns bytes */
export function streamMemoryBytes(mib: number | undefined, ofBytes: number): number {
  const quarter = Math.floor(ofBytes / 4 / MIB);
  return (mib ?? Math.min(LARGEST_DEFAULT_MIB, Math.max(SMALLEST_DEFAULT_MIB, quarter))) * MIB;
}
