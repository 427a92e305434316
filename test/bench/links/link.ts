/** What every way to carry bytes and calls between the two processes of a benchmark offers. */
import type { Duplex } from 'node:stream';
import type { Sample } from '../measure.ts';

/** Seen from the process that runs the benchmark: `down` comes from the other process, `up` goes to it. */
export type Direction = 'down' | 'up';

/** From the port that one end listens on to the one that the other end connects to: the way over a link between them. */
export type Route = (port: number) => Promise<number>;

/** Over loopback, with nothing between the ends. */
export const direct: Route = async (port) => port;

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

/** 64 bytes there and back, again and again on one stream, as keystrokes of a terminal are. */
export type Echo = () => Promise<void>;

export interface EchoLink extends CallLink {
  /** Opens the stream. */
  echo(): Promise<Echo>;
}

/** An echo over a stream whose other end gives back what it gets. */
export function echoOver(stream: Duplex): Echo {
  const keystroke = Buffer.alloc(CALL_BYTES, 0x51);
  const waiting: ((error?: Error | null) => void)[] = [];
  let bytes = 0;
  stream.on('data', (data: Buffer) => {
    for (bytes += data.length; bytes >= CALL_BYTES; bytes -= CALL_BYTES) waiting.shift()?.();
  });
  stream.once('close', () => {
    for (const settle of waiting.splice(0)) settle(new Error('the echo stream ended'));
  });
  return () =>
    new Promise((resolve, reject) => {
      waiting.push((error) => (error ? reject(error) : resolve()));
      stream.write(keystroke);
    });
}

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
