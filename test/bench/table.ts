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
}

const HEAD = ['figure', 'value', 'baseline', 'ratio', 'target', 'held'] as const;

/** Three significant digits, and never an exponent. */
function short(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(value), 0.001))));
  return value.toFixed(Math.min(digits, 3));
}

function cells(row: Row): string[] {
  const baseline = row.baseline === undefined ? '' : `${short(row.baseline)} ${row.unit}`;
  return [
    row.figure,
    `${short(row.value)} ${row.unit}`,
    row.against === undefined ? baseline : `${baseline} (${row.against})`,
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
