/** Times, sizes and ids as people read them. */

const STEPS = [
  [86_400, 'd'],
  [3_600, 'h'],
  [60, 'm'],
  [1, 's'],
] as const;

/** A duration in its largest whole unit: `42s`, `5m`, `3h`, `12d`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [size, unit] = STEPS.find(([step]) => seconds >= step) ?? [1, 's'];
  return `${Math.floor(seconds / size)}${unit}`;
}

/** `5m ago` or `in 5m`; undefined for no time or one that cannot be read. */
export function relative(time: string | number | null | undefined, now: number): string | undefined {
  if (time === null || time === undefined) return undefined;
  const at = new Date(time).getTime();
  if (Number.isNaN(at)) return undefined;
  return at > now ? `in ${duration(at - now)}` : `${duration(now - at)} ago`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Bytes with a binary unit and at most one decimal. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

const BIT_UNITS = ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'];

/** A rate of bytes in bits, as networks are measured. */
export function bitRate(bytesPerSecond: number): string {
  let value = bytesPerSecond * 8;
  let unit = 0;
  while (value >= 1000 && unit < BIT_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${BIT_UNITS[unit]}`;
}

/** A short time in ms with one decimal. */
export function millis(ms: number): string {
  return `${ms.toFixed(1)} ms`;
}

/** The first 12 digits of a container's id, as Docker shows them. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}
