/** What changed between two texts, line by line, as a unified diff. */

/** Lines around a change that are shown with it. */
const CONTEXT = 3;
/** Lines that differ, up to which the shortest way from one text to the other is looked for. */
const MAX_EDITS = 1_000;

interface Edit {
  readonly sign: ' ' | '-' | '+';
  readonly line: string;
}

/** Empty if both are the same. @param names stand above it, of the old text and of the new one */
export function unifiedDiff(before: string, after: string, names: readonly [string, string]): string {
  const edits = editsOf(linesOf(before), linesOf(after));
  const hunks = hunksOf(edits);
  return hunks.length === 0 ? '' : [`--- ${names[0]}`, `+++ ${names[1]}`, ...hunks, ''].join('\n');
}

function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function editsOf(a: readonly string[], b: readonly string[]): Edit[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) [endA, endB] = [endA - 1, endB - 1];
  const same = (lines: readonly string[]): Edit[] => lines.map((line) => ({ sign: ' ', line }));
  return [...same(a.slice(0, start)), ...shortest(a.slice(start, endA), b.slice(start, endB)), ...same(a.slice(endA))];
}

/** Myers' algorithm; for texts that have too little in common, all of the one and then all of the other. */
function shortest(a: readonly string[], b: readonly string[]): Edit[] {
  const reached: Int32Array[] = [];
  const most = Math.min(a.length + b.length, MAX_EDITS);
  // How far each diagonal has come, with `most` as the one in the middle.
  const furthest = new Int32Array(2 * most + 3);
  const at = (k: number) => k + most + 1;
  for (let d = 0; d <= most; d += 1) {
    reached.push(furthest.slice(at(-d) - 1, at(d) + 2));
    for (let k = -d; k <= d; k += 2) {
      const isDown = k === -d || (k !== d && (furthest[at(k - 1)] ?? 0) < (furthest[at(k + 1)] ?? 0));
      let x = isDown ? (furthest[at(k + 1)] ?? 0) : (furthest[at(k - 1)] ?? 0) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      furthest[at(k)] = x;
      if (x >= a.length && x - k >= b.length) return backtrack(a, b, reached);
    }
  }
  return [...a.map((line): Edit => ({ sign: '-', line })), ...b.map((line): Edit => ({ sign: '+', line }))];
}

function backtrack(a: readonly string[], b: readonly string[], reached: readonly Int32Array[]): Edit[] {
  const edits: Edit[] = [];
  let [x, y] = [a.length, b.length];
  for (let d = reached.length - 1; d >= 0; d -= 1) {
    const furthest = reached[d] ?? new Int32Array();
    // Each copy begins one before the diagonal -d.
    const of = (k: number) => furthest[k + d + 1] ?? 0;
    const k = x - y;
    const isDown = k === -d || (k !== d && of(k - 1) < of(k + 1));
    const fromK = isDown ? k + 1 : k - 1;
    const fromX = d === 0 ? 0 : of(fromK);
    const fromY = d === 0 ? 0 : fromX - fromK;
    while (x > fromX && y > fromY) {
      x -= 1;
      y -= 1;
      edits.push({ sign: ' ', line: a[x] ?? '' });
    }
    if (d === 0) break;
    if (isDown) edits.push({ sign: '+', line: b[fromY] ?? '' });
    else edits.push({ sign: '-', line: a[fromX] ?? '' });
    [x, y] = [fromX, fromY];
  }
  return edits.reverse();
}

function hunksOf(edits: readonly Edit[]): string[] {
  const changed = edits.flatMap(({ sign }, index) => (sign === ' ' ? [] : [index]));
  const ranges: [number, number][] = [];
  for (const index of changed) {
    const last = ranges.at(-1);
    const range: [number, number] = [Math.max(0, index - CONTEXT), Math.min(edits.length, index + CONTEXT + 1)];
    if (last !== undefined && range[0] <= last[1]) last[1] = range[1];
    else ranges.push(range);
  }
  let [seen, oldLine, newLine] = [0, 1, 1];
  return ranges.flatMap(([from, to]) => {
    for (const { sign } of edits.slice(seen, from)) {
      if (sign !== '+') oldLine += 1;
      if (sign !== '-') newLine += 1;
    }
    const shown = edits.slice(from, to);
    const oldCount = shown.filter(({ sign }) => sign !== '+').length;
    const newCount = shown.filter(({ sign }) => sign !== '-').length;
    const head = `@@ -${place(oldLine, oldCount)} +${place(newLine, newCount)} @@`;
    seen = to;
    oldLine += oldCount;
    newLine += newCount;
    return [head, ...shown.map(({ sign, line }) => sign + line)];
  });
}

/** Where a part of a text begins and how long it is; an empty one stands behind the line before it. */
function place(line: number, count: number): string {
  if (count === 1) return String(line);
  return `${count === 0 ? line - 1 : line},${count}`;
}
