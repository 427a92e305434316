/** The forms in which a log's output leaves: its bytes, records, or Docker's frames. */
import type { OnOutput } from './frames.ts';
import { LineSplitter, type LogRecord } from './lines.ts';

/** `frames` are Docker's own, multiplexed; of a terminal they are raw bytes. */
export type LogForm = 'bytes' | 'ndjson' | 'frames';

export interface LogSink {
  readonly emit: OnOutput;
  /** What has been gathered since the last call; undefined if nothing was. */
  take(): Buffer | string | undefined;
  /** Says that the output has ended. */
  end(): void;
}

export interface SinkOptions {
  readonly form: LogForm;
  /** The output of a terminal. */
  readonly tty: boolean;
  /** Timestamps are in the output. */
  readonly timestamps: boolean;
}

/** Where a log's output is put into its form. */
export function logSink({ form, tty, timestamps }: SinkOptions): LogSink {
  if (form === 'ndjson') return recordSink({ tty, timestamps });
  return pieceSink(form === 'frames' && !tty);
}

function pieceSink(isFramed: boolean): LogSink {
  let pieces: Buffer[] = [];
  let bytes = 0;
  const add = (piece: Buffer) => {
    pieces.push(piece);
    bytes += piece.length;
  };
  return {
    emit(stream, piece, isStart, left) {
      if (isStart && isFramed) add(frameHeader(stream, piece.length + left));
      if (piece.length > 0) add(piece);
    },
    take() {
      if (bytes === 0) return undefined;
      // One buffer out for one in: each line by itself would cost more than copying it.
      const whole = Buffer.allocUnsafe(bytes);
      let at = 0;
      for (const piece of pieces) at += piece.copy(whole, at);
      pieces = [];
      bytes = 0;
      return whole;
    },
    end: () => undefined,
  };
}

/** Docker's header of a frame. */
function frameHeader(stream: 1 | 2, bytes: number): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(stream, 0);
  header.writeUInt32BE(bytes, 4);
  return header;
}

function recordSink(options: { tty: boolean; timestamps: boolean }): LogSink {
  let texts: string[] = [];
  const lines = new LineSplitter(options, (record: LogRecord) => void texts.push(`${JSON.stringify(record)}\n`));
  return {
    // The lines of a terminal are found by themselves: it has no frames.
    emit: (stream, piece, isStart) => lines.push(stream, piece, isStart && !options.tty),
    take() {
      if (texts.length === 0) return undefined;
      const text = texts.join('');
      texts = [];
      return text;
    },
    end: () => lines.end(),
  };
}
