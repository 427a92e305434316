/** Releases of Hawser, as an agent names its own. */

/** Whether `version` is that release or a later one; one that is no number counts as the oldest. */
export function isSince(version: string, release: readonly [number, number, number]): boolean {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number) ?? [0, 0, 0];
  for (const [at, least] of release.entries()) {
    if ((parts[at] ?? 0) !== least) return (parts[at] ?? 0) > least;
  }
  return true;
}
