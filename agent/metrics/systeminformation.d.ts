/** The one part of systeminformation that is used: the whole of it would take 11 MB of memory, and 40 ms to load. */
declare module 'systeminformation/lib/memory.js' {
  import type { Systeminformation } from 'systeminformation';
  export function mem(): Promise<Systeminformation.MemData>;
}
