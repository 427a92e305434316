/** The forms in which a log's output leaves: its bytes, records, or Docker's frames. */
import { gapDetail } from './followed-log.ts';
import type { OnOutput } from './frames.ts';
import { LineSplitter, type LogRecord } from './lines.ts';

/** `frames` are Docker's own, multiplexed; of a terminal they are raw bytes. */
export type LogForm = 'bytes' | 'ndjson' | 'frames';

export interface LogSink {
  readonly emit: OnOutput;
  /** What has been gathered since the last call; undefined if nothing was. */
  take(): Buffer | string | undefined;
  /** Says that something is missing here: a line that was begun is over. Frames have no way to say so. */
  gap(after: string): void;
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

/** Docker's header of a frame: its stream, three zeros, its length. */
const HEADER_BYTES = 8;
const LF = 0x0a;

/** Where a log's output is put into its form. */
export function logSink({ form, tty, timestamps }: SinkOptions): LogSink {
  if (form === 'ndjson') return recordSink({ tty, timestamps });
  return pieceSink(form === 'frames' && !tty);
}

/** Room for what is gathered at first; more if more comes in one go. */
const GATHERED_BYTES = 4 * 1024;

function pieceSink(isFramed: boolean): LogSink {
  // One buffer out for one in: each line by itself would cost more than copying it. This one is used again and again.
  let out = Buffer.alloc(0);
  let used = 0;
  let isInLine = false;
  const makeRoom = (bytes: number) => {
    if (used + bytes <= out.length) return;
    const larger = Buffer.allocUnsafe(Math.max(GATHERED_BYTES, 2 * used, used + bytes));
    out.copy(larger, 0, 0, used);
    out = larger;
  };
  return {
    emit(stream, piece, isStart, left) {
      makeRoom(piece.length + HEADER_BYTES);
      if (isStart && isFramed) {
        out.writeUInt32BE(stream << 24, used);
        out.writeUInt32BE(piece.length + left, used + 4);
        used += HEADER_BYTES;
      }
      used += piece.copy(out, used);
      if (piece.length > 0) isInLine = piece[piece.length - 1] !== LF;
    },
    take() {
      if (used === 0) return undefined;
      const whole = Buffer.from(out.subarray(0, used));
      used = 0;
      return whole;
    },
    gap() {
      makeRoom(1);
      if (isInLine) out[used++] = LF;
      isInLine = false;
    },
    end: () => undefined,
  };
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
    gap(after) {
      lines.end();
      texts.push(`${JSON.stringify({ gap: { after, detail: gapDetail(after) } })}\n`);
    },
    end: () => lines.end(),
  };
}
