/** Times as callers state them. */
import { FairleadError } from '../../shared/errors.ts';

const RFC_3339 = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/i;

/** An RFC 3339 time as ms since 1970. @param name of the field. @throws FairleadError VALIDATION */
export function timeOf(name: string, given: string): number {
  const ms = RFC_3339.test(given) ? Date.parse(given) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  throw new FairleadError('VALIDATION', `${name} is not valid: it must be an RFC 3339 time, as 2030-01-31T12:00:00Z`);
}
