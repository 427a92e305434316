/** Which of two versions is the newer one, by semantic versioning. */
import compare from 'semver/functions/compare.js';

/** Below 0: `a` is older than `b`; above: newer; 0: neither. Both must be versions. */
export function compareVersions(a: string, b: string): number {
  return compare(a, b);
}
