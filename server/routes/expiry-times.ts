/** When tokens end, as callers say it. */
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_OVERLAP_SECONDS } from '../access/rotation.ts';

/** How long a token that is rotated goes on. */
export const Overlap = Type.Union([
  Type.Object(
    {
      overlapSeconds: Type.Optional(
        Type.Integer({
          minimum: 0,
          maximum: MAX_OVERLAP_SECONDS,
          description: 'How long the old token goes on; 0 unless given',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  Type.Null(),
]);

/** A point in time in ms since 1970. @throws FairleadError VALIDATION unless it is RFC 3339 and lies in the future */
export function futureTime(text: string, now: number): number {
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/i.test(text)
    ? Date.parse(text)
    : Number.NaN;
  if (Number.isNaN(time)) throw new FairleadError('VALIDATION', 'expiresAt is not valid: it must be an RFC 3339 time');
  if (time <= now) throw new FairleadError('VALIDATION', 'expiresAt is not valid: it is not in the future');
  return time;
}
