/** What the CLI touches of its process, as one value that tests can replace. */
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

/** Standard input; a terminal has `isTTY` and can be set to raw mode. */
export interface CliInput extends Readable {
  isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
}

/** Standard output or error; a terminal has its size and emits `resize`. */
export interface CliOutput extends Writable {
  isTTY?: boolean;
  columns?: number;
  rows?: number;
}

export interface CliIo {
  readonly stdin: CliInput;
  readonly stdout: CliOutput;
  readonly stderr: CliOutput;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The time in ms since 1970, for ages in tables. */
  now(): number;
  /** Calls `listener` when the process is told to end by a signal, until the returned function is called. */
  onKill(listener: () => void): () => void;
  /**
   * As `onKill`, but the first signal does not end the process: the listener is to bring its work to an end. A second one
   * kills.
   */
  onStop(listener: () => void): () => void;
}

/** Writes `chunk` and waits while the reader is behind. Rejects if the stream fails meanwhile. */
export async function write(output: Writable, chunk: string | Uint8Array): Promise<void> {
  if (!output.write(chunk)) await once(output, 'drain');
}
