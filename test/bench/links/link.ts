/** What every way to carry bytes and calls between the two processes of a benchmark offers. */
import type { Sample } from '../measure.ts';

/** Seen from the process that runs the benchmark: `down` comes from the other process, `up` goes to it. */
export type Direction = 'down' | 'up';

export interface BulkLink {
  /** Starts sending without end on so many streams. */
  start(direction: Direction, streams: number): Promise<void>;
  /** What the receiving end has got so far, over all streams. */
  sample(direction: Direction): Promise<Sample>;
  close(): Promise<void>;
}

/** 64 bytes there, 64 bytes back, on a stream of their own. */
export interface CallLink extends BulkLink {
  call(): Promise<void>;
}

/** Bytes of one message or write of bulk. */
export const CHUNK_BYTES = 64 * 1024;
/** Bytes of the question and of the answer of a small call. */
export const CALL_BYTES = 64;

/** Counts what arrives in this process. */
export class Counter {
  bytes = 0;

  sample(): Sample {
    return { bytes: this.bytes, atMs: performance.now() };
  }
}

/** Writes chunks without end, and waits whenever the writable says so. */
export function pump(writable: NodeJS.WritableStream & { destroyed?: boolean }): void {
  const chunk = Buffer.alloc(CHUNK_BYTES, 0x5a);
  const fill = () => {
    while (!writable.destroyed) if (!writable.write(chunk)) return;
  };
  writable.on('drain', fill);
  fill();
}
