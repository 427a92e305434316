/** From a leaf to the root that it is of, by way of one intermediate at most. */
import { X509Certificate } from 'node:crypto';
import { isEndorsement, isSignedBy } from './endorsement.ts';
import { certificateBlocks } from './pem.ts';
import type { Root } from './trust.ts';
import { pathLength } from './x509-fields.ts';

const MAX_CHAIN = 2;

/**
 * The root among `roots` that the first certificate of `chain` (PEM) is of: issued by it, or by the intermediate behind it
 * that is valid at `now` (ms since 1970).
 */
export function rootOf(chain: string, roots: readonly Root[], now: number): Root | undefined {
  const blocks = certificateBlocks(chain);
  if (blocks.length === 0 || blocks.length > MAX_CHAIN) return undefined;
  const [leaf, intermediate] = blocks.map((block) => new X509Certificate(block));
  if (leaf === undefined) return undefined;
  const direct = roots.find(({ x509 }) => isSignedBy(leaf, x509));
  if (direct !== undefined || intermediate === undefined) return direct;
  const from = intermediate.validFromDate.getTime();
  const mayIssue =
    intermediate.ca && !isEndorsement(intermediate) && from <= now && now < intermediate.validToDate.getTime();
  if (!mayIssue || !isSignedBy(leaf, intermediate)) return undefined;
  return roots.find(({ x509 }) => (pathLength(x509) ?? 0) >= 1 && isSignedBy(intermediate, x509));
}
