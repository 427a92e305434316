/** What is kept of several samples: how many, their sum, the least and the most. Two such make a third, in any order. */
import type { Figures } from './series.ts';

export interface Cell {
  readonly count: number;
  readonly sum: number;
  readonly min: number;
  readonly max: number;
}

/** A cell for each series that had a figure at all. */
export interface Cells {
  /** Of samples, whatever was in them. */
  readonly samples: number;
  /** In the order of the series. */
  readonly series: readonly (Cell | undefined)[];
}

/** The cells of these samples. */
export function cellsOf(samples: readonly Figures[]): Cells {
  const series: ({ count: number; sum: number; min: number; max: number } | undefined)[] = [];
  for (const figures of samples) {
    for (const [index, value] of figures.entries()) {
      const cell = series[index];
      if (value === undefined) continue;
      if (cell === undefined) {
        series[index] = { count: 1, sum: value, min: value, max: value };
        continue;
      }
      cell.count += 1;
      cell.sum += value;
      cell.min = Math.min(cell.min, value);
      cell.max = Math.max(cell.max, value);
    }
  }
  return { samples: samples.length, series: Array.from(series) };
}

/** What both are about together; undefined is nothing. */
export function merged(a: Cells | undefined, b: Cells): Cells {
  if (a === undefined) return b;
  const length = Math.max(a.series.length, b.series.length);
  const series = Array.from({ length }, (_, index) => mergedCell(a.series[index], b.series[index]));
  return { samples: a.samples + b.samples, series };
}

function mergedCell(a: Cell | undefined, b: Cell | undefined): Cell | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return {
    count: a.count + b.count,
    sum: a.sum + b.sum,
    min: Math.min(a.min, b.min),
    max: Math.max(a.max, b.max),
  };
}
