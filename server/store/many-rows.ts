/** Statements for some rows at once: one of them, and so one commit, where each row by itself would be one. */

const made = new Map<string, string>();

/**
 * The SQL `(?, ?), (?, ?)` for so many rows of so many columns. Each is made once: to build one for each write takes
 * longer than the write. Callers keep the number of rows below some constant.
 */
export function placeholders(rows: number, columns: number): string {
  const key = `${rows}:${columns}`;
  let sql = made.get(key);
  if (sql === undefined) {
    const row = `(${Array(columns).fill('?').join(', ')})`;
    sql = Array(rows).fill(row).join(', ');
    made.set(key, sql);
  }
  return sql;
}
