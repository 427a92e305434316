/** Keeps the memory of a process that streams much near what it holds. */
import { setFlagsFromString } from 'node:v8';

/**
 * Stops V8 from growing its space for young objects. Streamed bytes die young, and V8 lets the garbage of a larger space
 * reach tens of MiB before it looks: a log of 100 MB that a client reads slowly costs two processes 100 MiB without this
 * and 20 to 50 with it.
 * V8 reads this flag each time it thinks of growing, so that it may be set while it runs.
 */
export function keepYoungHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
