/** The time that Docker puts before each entry of a log, if it is asked to. */

/** Docker's zero time: never. */
export const NEVER = '0001-01-01T00:00:00Z';

/** The longest timestamp that is looked for, its space included. */
export const MAX_TIMESTAMP_BYTES = 40;
const TIMESTAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;
const SPACE = 0x20;
const T = 0x54;
const Z = 0x5a;

/** The length of Docker's own, in which any two can be compared byte by byte. */
export const USUAL_TIMESTAMP_BYTES = 30;

/**
 * How long the timestamp at the front of `bytes` is, without its space.
 * @returns 0 where there is none; undefined where more bytes are needed to tell
 */
export function timestampBytes(bytes: Buffer): number | undefined {
  const isUsual = bytes[USUAL_TIMESTAMP_BYTES] === SPACE && bytes[USUAL_TIMESTAMP_BYTES - 1] === Z && bytes[10] === T;
  if (isUsual) return USUAL_TIMESTAMP_BYTES;
  const space = bytes.subarray(0, MAX_TIMESTAMP_BYTES).indexOf(SPACE);
  if (space === -1) return bytes.length < MAX_TIMESTAMP_BYTES ? undefined : 0;
  return TIMESTAMP.test(bytes.toString('latin1', 0, space)) ? space : 0;
}

interface Instant {
  /** Unix seconds. */
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** @returns undefined for what is no timestamp */
function instantOf(time: string): Instant | undefined {
  const [, date, fraction = '', zone] = TIMESTAMP.exec(time) ?? [];
  const ms = Date.parse(`${date}${zone}`);
  if (Number.isNaN(ms)) return undefined;
  return { seconds: ms / 1000, nanoseconds: Number(fraction.padEnd(9, '0')) };
}

/** Whether `a` is later than `b`. What is no timestamp is later than nothing. */
export function isLater(a: string, b: string): boolean {
  // Docker's own have one form, in which they can be compared as they are.
  if (a.length === USUAL_TIMESTAMP_BYTES && b.length === a.length && a.endsWith('Z') && b.endsWith('Z')) return a > b;
  const [x, y] = [instantOf(a), instantOf(b)];
  if (x === undefined || y === undefined) return false;
  return x.seconds > y.seconds || (x.seconds === y.seconds && x.nanoseconds > y.nanoseconds);
}

/** `ms` before `time`, as the Unix seconds with nine decimals that Docker takes for since. */
export function sinceBefore(time: string, ms: number): string | undefined {
  const instant = instantOf(time);
  if (instant === undefined) return undefined;
  const seconds = Math.max(0, instant.seconds - Math.ceil(ms / 1000));
  return `${seconds}.${String(instant.nanoseconds).padStart(9, '0')}`;
}

/** `ms` after `time`, in Docker's own form. @returns '' for what is no timestamp */
export function timeAfter(time: string, ms: number): string {
  const instant = instantOf(time);
  if (instant === undefined) return '';
  const seconds = new Date(instant.seconds * 1000 + ms).toISOString().slice(0, -5);
  return `${seconds}.${String(instant.nanoseconds).padStart(9, '0')}Z`;
}

/** The moment right after `time`, as Docker's API takes it: seconds with their nanoseconds. */
export function justAfter(time: string): string {
  const [, seconds = '', fraction = '', zone = 'Z'] = /^([^.]+?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? [];
  const nanos = Number(fraction.padEnd(9, '0').slice(0, 9)) + 1;
  const ms = Date.parse(`${seconds}${zone}`);
  const whole = Math.floor(ms / 1000) + Math.floor(nanos / 1e9);
  return `${whole}.${String(nanos % 1e9).padStart(9, '0')}`;
}
