/** Tables for people: columns as wide as their widest cell, two spaces apart, nothing cut off. */
import { printable } from '../../shared/printable.ts';

/** A column: its heading and what stands in it for a row; undefined and '' become `-`. */
export type Column<T> = readonly [heading: string, cell: (row: T) => string | number | undefined];

/** The table's text, with a heading and a line per row. */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  const lines = [columns.map(([heading]) => heading), ...rows.map((row) => columns.map(([, cell]) => text(cell(row))))];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => width(line[index] ?? ''))));
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, index) => pad(cell, widths[index] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** `key: value` lines with aligned values; entries without a value are left out. */
export function facts(entries: readonly (readonly [string, string | number | undefined])[]): string {
  const shown = entries.filter(([, value]) => value !== undefined && value !== '');
  const widest = Math.max(0, ...shown.map(([key]) => key.length));
  return shown.map(([key, value]) => `${`${key}:`.padEnd(widest + 3)}${text(value)}\n`).join('');
}

function text(value: string | number | undefined): string {
  return value === undefined || value === '' ? '-' : printable(String(value));
}

function width(cell: string): number {
  return [...cell].length;
}

function pad(cell: string, to: number): string {
  return cell + ' '.repeat(to - width(cell));
}
