/** The steps that history is kept in, and the one that a question about it is answered in. */
import { FairleadError } from '../../shared/errors.ts';

/** Rows of samples are about so many seconds each, and so are the first rows that are made of them. */
export const FINE_STEP = 300;
export const COARSE_STEP = 3600;
/** An answer has so many points at most. */
export const MAX_POINTS = 1000;

/** For how long each is kept, in seconds. */
export interface Retention {
  readonly samples: number;
  readonly fine: number;
  readonly coarse: number;
}

/** A question, whose times are Unix seconds. */
export interface Asked {
  readonly from: number;
  readonly to: number;
  /** In seconds; absent: what suits the range. */
  readonly step?: number;
}

/** What is read: from `from` up to `to`, which is left out; both begin a step. */
export interface Plan {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  /** The rows that are read: 0 are samples. */
  readonly rows: 0 | typeof FINE_STEP | typeof COARSE_STEP;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];
const DAY = 86_400;

/**
 * How a question is answered: in the step that was asked for, or the next above that is still kept of that time.
 * @param intervalSeconds of samples
 * @throws FairleadError VALIDATION
 */
export function planOf({ from, to, step }: Asked, now: number, kept: Retention, intervalSeconds: number): Plan {
  if (from >= to) throw new FairleadError('VALIDATION', 'from must be before to; by default they are -1h and now');
  const end = Math.min(Math.ceil(to), Math.ceil(now) + 1);
  const start = Math.min(Math.floor(from), end - 1);
  if (step === undefined) {
    const least = Math.max(intervalSeconds, leastStep(start, now, kept));
    return planFor(start, end, suitable(end - start, least));
  }
  const plan = planFor(start, end, Math.max(step, leastStep(start, now, kept)));
  if ((plan.to - plan.from) / plan.step <= MAX_POINTS) return plan;
  const needed = suitable(end - start, step);
  throw new FairleadError(
    'VALIDATION',
    `step is too small for this range: an answer has ${MAX_POINTS} points at most, so give ${needed}s or more, or no step`,
  );
}

/** What is older than the samples is there in larger steps only. */
function leastStep(from: number, now: number, kept: Retention): number {
  // What is old is dropped hourly, so that a question about just as long finds all.
  if (from >= now - kept.samples - FINE_STEP) return 1;
  return from >= now - kept.fine - COARSE_STEP ? FINE_STEP : COARSE_STEP;
}

/** A round step of at least `least` that makes no more points of so many seconds than an answer may have. */
function suitable(seconds: number, least: number): number {
  // One more, since a range seldom begins with a step.
  const fits = (step: number) => step >= least && seconds / step + 2 <= MAX_POINTS;
  const days = () => Math.ceil(Math.max(least, seconds / (MAX_POINTS - 2)) / DAY) * DAY;
  return STEPS.find(fits) ?? days();
}

function planFor(from: number, to: number, wanted: number): Plan {
  const rows = wanted < FINE_STEP ? 0 : wanted < COARSE_STEP ? FINE_STEP : COARSE_STEP;
  const step = rows === 0 ? wanted : Math.ceil(wanted / rows) * rows;
  return { from: Math.floor(from / step) * step, to: Math.ceil(to / step) * step, step, rows };
}
