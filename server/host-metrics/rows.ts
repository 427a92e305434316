/** The rows of the store: samples of five minutes in one, each told by its difference to the one before; and cells. */
import type { Cell, Cells } from './cells.ts';
import { NumberReader, NumberWriter } from './numbers.ts';
import { type Figures, SERIES } from './series.ts';

/** The first number of each row. Another one is a later version's. */
const SAMPLES_FORMAT = 1;
const CELLS_FORMAT = 2;
/** Rows name the series that they have by the bits of one number. */
const MAX_SERIES = 48;

/** A sample as it is kept. */
export interface StoredSample {
  /** When it came, in Unix seconds. */
  readonly at: number;
  readonly figures: Figures;
}

/** @param samples in the order of their times, from `from` on */
export function encodeSamples(from: number, samples: readonly StoredSample[]): Buffer {
  const writer = new NumberWriter();
  writer.put(SAMPLES_FORMAT);
  const last = SERIES.map(() => 0);
  let at = from;
  for (const sample of samples) {
    writer.put(sample.at - at);
    at = sample.at;
    writer.put(maskOf(sample.figures));
    for (const [index, value] of sample.figures.entries()) {
      if (value === undefined) continue;
      writer.putSigned(value - (last[index] ?? 0));
      last[index] = value;
    }
  }
  return writer.bytes();
}

/** The samples of a row that begins at `from`; none if it is damaged, or of a later version. */
export function decodeSamples(from: number, data: Uint8Array): StoredSample[] {
  return readable(() => samplesIn(from, readerOf(data, SAMPLES_FORMAT))) ?? [];
}

function samplesIn(from: number, reader: NumberReader): StoredSample[] {
  const samples: StoredSample[] = [];
  const last: number[] = [];
  let at = from;
  while (!reader.isAtEnd) {
    at += reader.take();
    const figures = bitsOf(reader.take()).map((isThere, index) => {
      if (!isThere) return undefined;
      const value = (last[index] ?? 0) + reader.takeSigned();
      last[index] = value;
      return value;
    });
    samples.push({ at, figures });
  }
  return samples;
}

export function encodeCells({ samples, series }: Cells): Buffer {
  const writer = new NumberWriter();
  writer.put(CELLS_FORMAT);
  writer.put(samples);
  writer.put(maskOf(series));
  for (const cell of series) {
    if (cell === undefined) continue;
    // All of these are small where a figure changes little.
    writer.put(samples - cell.count);
    writer.put(cell.min);
    writer.put(cell.max - cell.min);
    writer.put(cell.sum - cell.min * cell.count);
  }
  return writer.bytes();
}

/** Undefined for a row that is damaged, or of a later version. */
export function decodeCells(data: Uint8Array): Cells | undefined {
  return readable(() => cellsIn(readerOf(data, CELLS_FORMAT)));
}

function cellsIn(reader: NumberReader): Cells {
  const samples = reader.take();
  const series = bitsOf(reader.take()).map((isThere): Cell | undefined => {
    if (!isThere) return undefined;
    const count = samples - reader.take();
    const min = reader.take();
    const max = min + reader.take();
    if (count <= 0) throw new Error('a row of metrics is damaged');
    return { count, min, max, sum: reader.take() + min * count };
  });
  return { samples, series };
}

/** A row that cannot be read is a gap: it must not keep the others from being read, nor new ones from being written. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function readerOf(data: Uint8Array, format: number): NumberReader {
  const reader = new NumberReader(data);
  if (reader.take() !== format) throw new Error('a row of metrics is of another version');
  return reader;
}

function maskOf(values: readonly unknown[]): number {
  return values.reduce((mask: number, value, index) => mask + (value === undefined ? 0 : 2 ** index), 0);
}

function bitsOf(mask: number): boolean[] {
  const bits: boolean[] = [];
  for (let rest = mask; rest > 0 && bits.length < MAX_SERIES; rest = Math.floor(rest / 2)) bits.push(rest % 2 === 1);
  return bits;
}
