/** The table that every figure of the benchmark fills. */

/** One measured figure. */
export interface Row {
  figure: string;
  /** What was measured, in `unit`. */
  value: number;
  unit: string;
  /** What the same run measured for the thing it is compared with. */
  baseline?: number;
  /** What the baseline is. */
  against?: string;
  /** The target in words; absent: for information only. */
  target?: string;
  held?: boolean;
  /** What the same run measured for other systems, in the same unit; stands in the baseline's place. */
  others?: readonly Other[];
  /** It was more, but what was waited for had not come when the measurement ended. */
  atLeast?: boolean;
}

export type Other = Pick<Row, 'value' | 'atLeast'> & { name: string };

const HEAD = ['figure', 'value', 'baseline', 'ratio', 'target', 'held'] as const;

/** Three significant digits, and never an exponent. */
function short(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(value), 0.001))));
  return value.toFixed(Math.min(digits, 3));
}

function amount({ value, atLeast = false }: Pick<Row, 'value' | 'atLeast'>): string {
  return atLeast ? `> ${short(value)}` : short(value);
}

function compared(row: Row): string {
  if (row.others !== undefined) return row.others.map((other) => `${other.name} ${amount(other)}`).join(', ');
  const baseline = row.baseline === undefined ? '' : `${short(row.baseline)} ${row.unit}`;
  return row.against === undefined ? baseline : `${baseline} (${row.against})`;
}

function cells(row: Row): string[] {
  return [
    row.figure,
    `${amount(row)} ${row.unit}`,
    compared(row),
    row.baseline === undefined ? '' : (row.value / row.baseline).toFixed(2),
    row.target ?? '',
    row.held === undefined ? '' : row.held ? 'yes' : 'NO',
  ];
}

/** Markdown that also reads well in a terminal. */
export function renderTable(rows: readonly Row[]): string {
  const lines = [[...HEAD], ...rows.map(cells)];
  const widths = HEAD.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const render = (line: readonly string[]) =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  return [render(lines[0] ?? []), rule, ...lines.slice(1).map(render)].join('\n');
}
